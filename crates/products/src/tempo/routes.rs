//! Tempo's routes for queries. Rings, `/flush`, `/shutdown` (both act on GET), `/status`, `/memberlist`, `/metrics` and everything
//! else that is not named here stays closed.

use muster_model::Role::QueryFrontend;
use muster_model::route::PathMatch::Prefix;
use muster_model::route::Traffic::Query;
use muster_model::route::{Route, Upstream};
use muster_model::{GRPC_PORT, HTTP_PORT};

pub(super) const QUERIES: &[Route] =
    &[Route { path: Prefix("/api"), to: Upstream { role: QueryFrontend, port: HTTP_PORT }, traffic: Query }];

pub(super) const STREAMING: &[Route] = &[Route {
    path: Prefix("/tempopb.StreamingQuerier"),
    to: Upstream { role: QueryFrontend, port: GRPC_PORT },
    traffic: Query,
}];
