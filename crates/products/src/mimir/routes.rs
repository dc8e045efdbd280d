//! Mimir's routes: what clients may reach. Rings, flush and shutdown pages, `/config`, `/memberlist`, `/metrics`
//! and everything else that is not named here stays closed.

use muster_model::Role::{Alertmanager, Compactor, Distributor, QueryFrontend, Ruler};
use muster_model::route::PathMatch::{Exact, Prefix};
use muster_model::route::Traffic::{Api, Push, Query, Upload};
use muster_model::route::{PathMatch, Route, Traffic, Upstream};
use muster_model::{HTTP_PORT, Role};

const fn route(path: PathMatch, role: Role, traffic: Traffic) -> Route {
    Route { path, to: Upstream { role, port: HTTP_PORT }, traffic }
}

pub(super) const ROUTES: &[Route] = &[
    route(Exact("/api/v1/push"), Distributor, Push),
    // Only with the override distributor.influx_endpoint_enabled.
    route(Exact("/api/v1/push/influx/write"), Distributor, Push),
    route(Exact("/otlp/v1/metrics"), Distributor, Push),
    // Before /prometheus, which the query-frontend takes: it does not know rules.
    route(Prefix("/prometheus/config/v1/rules"), Ruler, Api),
    route(Prefix("/prometheus/api/v1/rules"), Ruler, Api),
    route(Prefix("/prometheus/api/v1/alerts"), Ruler, Api),
    route(Prefix("/alertmanager"), Alertmanager, Api),
    route(Exact("/api/v1/alerts"), Alertmanager, Api),
    route(Prefix("/prometheus"), QueryFrontend, Query),
    route(Exact("/api/v1/status/buildinfo"), QueryFrontend, Query),
    route(Prefix("/api/v1/upload/block"), Compactor, Upload),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(path: &PathMatch, request: &str) -> bool {
        match path {
            Exact(path) => request == *path,
            Prefix(path) => {
                request.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    fn role(request: &str) -> Option<Role> {
        ROUTES.iter().find(|route| takes(&route.path, request)).map(|route| route.to.role)
    }

    #[test]
    fn requests_go_to_the_role_that_serves_them() {
        for (request, to) in [
            ("/api/v1/push", Distributor),
            ("/api/v1/push/influx/write", Distributor),
            ("/otlp/v1/metrics", Distributor),
            ("/prometheus/api/v1/query_range", QueryFrontend),
            ("/prometheus/config/v1/rules/namespace/group", Ruler),
            ("/prometheus/api/v1/rules", Ruler),
            ("/prometheus/api/v1/alerts", Ruler),
            ("/prometheus/api/v1/alertsx", QueryFrontend),
            ("/alertmanager/api/v2/alerts", Alertmanager),
            ("/api/v1/alerts", Alertmanager),
            ("/api/v1/upload/block/01ABC/start", Compactor),
        ] {
            assert_eq!(role(request), Some(to), "{request}");
        }
    }

    #[test]
    fn no_admin_path_is_routed() {
        for request in [
            "/",
            "/ready",
            "/metrics",
            "/config",
            "/runtime_config",
            "/memberlist",
            "/services",
            "/debug/pprof/heap",
            "/ingester/shutdown",
            "/ingester/flush",
            "/ingester/prepare-shutdown",
            "/ingester/ring",
            "/distributor/ring",
            "/store-gateway/ring",
            "/store-gateway/prepare-shutdown",
            "/compactor/ring",
            "/compactor/delete_tenant",
            "/ruler/ring",
            "/ruler/delete_tenant_config",
            "/query-scheduler/ring",
            "/overrides-exporter/ring",
            "/multitenant_alertmanager/delete_tenant_config",
            "/multitenant_alertmanager/configs",
            "/api/v1/user_limits",
            "/api/v1/user_stats",
            "/alertmanagers",
            "/api/v1/push/x",
        ] {
            assert_eq!(role(request), None, "{request}");
        }
    }

    #[test]
    fn no_route_is_shadowed_by_an_earlier_one() {
        for (at, route) in ROUTES.iter().enumerate() {
            let (Exact(path) | Prefix(path)) = route.path;
            assert!(!ROUTES[..at].iter().any(|earlier| takes(&earlier.path, path)), "{path}");
        }
    }
}
