//! Loki's routes: what clients may reach. Rings, flush and shutdown pages, `/config`, `/log_level`, `/memberlist`, `/metrics` and
//! everything else that is not named here stays closed.

use muster_model::HTTP_PORT;
use muster_model::Role::{self, Backend, Compactor, Read, Write};
use muster_model::route::PathMatch::{Exact, Prefix};
use muster_model::route::Traffic::{Api, Push, Query, Tail};
use muster_model::route::{PathMatch, Route, Traffic, Upstream};

const fn route(path: PathMatch, role: Role, traffic: Traffic) -> Route {
    Route { path, to: Upstream { role, port: HTTP_PORT }, traffic }
}

pub(super) const ROUTES: &[Route] = &[
    route(Exact("/loki/api/v1/push"), Write, Push),
    route(Exact("/api/prom/push"), Write, Push),
    route(Exact("/otlp/v1/logs"), Write, Push),
    route(Prefix("/loki/api/v1/rules"), Backend, Api),
    route(Prefix("/api/prom/rules"), Backend, Api),
    route(Exact("/prometheus/api/v1/rules"), Backend, Api),
    route(Exact("/prometheus/api/v1/alerts"), Backend, Api),
    // The leading compactor alone: another one would keep a delete request and never carry it out.
    route(Exact("/loki/api/v1/delete"), Compactor, Api),
    route(Exact("/loki/api/v1/cache/generation_numbers"), Compactor, Api),
    route(Exact("/loki/api/v1/tail"), Read, Tail),
    route(Exact("/api/prom/tail"), Read, Tail),
    route(Exact("/loki/api/v1/query"), Read, Query),
    route(Exact("/loki/api/v1/query_range"), Read, Query),
    route(Exact("/loki/api/v1/labels"), Read, Query),
    route(Prefix("/loki/api/v1/label"), Read, Query),
    route(Exact("/loki/api/v1/series"), Read, Query),
    route(Prefix("/loki/api/v1/index"), Read, Query),
    route(Exact("/loki/api/v1/patterns"), Read, Query),
    route(Exact("/loki/api/v1/detected_labels"), Read, Query),
    route(Exact("/loki/api/v1/detected_fields"), Read, Query),
    route(Prefix("/loki/api/v1/detected_field"), Read, Query),
    route(Exact("/loki/api/v1/format_query"), Read, Query),
    route(Exact("/loki/api/v1/drilldown-limits"), Read, Query),
    route(Exact("/loki/api/v1/status/buildinfo"), Read, Query),
    route(Exact("/api/prom/query"), Read, Query),
    route(Prefix("/api/prom/label"), Read, Query),
    route(Exact("/api/prom/series"), Read, Query),
];
