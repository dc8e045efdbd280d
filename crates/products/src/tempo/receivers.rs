//! Tempo's receivers: each is opened by an option of the coordinator.

use muster_model::Role;
use muster_model::route::PathMatch::{Exact, Prefix};
use muster_model::route::Traffic::Push;
use muster_model::route::{Listener, PathMatch, Protocol, Route, Upstream};

use crate::charm::Options;

/// A protocol in which spans are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver {
    /// The option that opens it.
    option: &'static str,
    /// Its name in the config, and the one of its protocol where it has several.
    pub(super) key: (&'static str, Option<&'static str>),
    /// Where the load balancer takes it, which is also the units' port.
    pub(super) listener: Listener,
    /// The path that clients are given.
    pub(super) path: Option<&'static str>,
}

const fn route(path: PathMatch, port: u16) -> Route {
    Route { path, to: Upstream { role: Role::Distributor, port }, traffic: Push }
}

const fn listener(port: u16, protocol: Protocol, name: &'static str, routes: &'static [Route]) -> Listener {
    Listener { port, protocol, name, routes }
}

const OTLP_GRPC: &[Route] = &[route(Prefix("/opentelemetry.proto.collector.trace.v1.TraceService"), 4317)];
const OTLP_HTTP: &[Route] = &[route(Exact("/v1/traces"), 4318)];
const ZIPKIN: &[Route] = &[route(Exact("/api/v2/spans"), 9411), route(Exact("/api/v1/spans"), 9411)];
const JAEGER_HTTP: &[Route] = &[route(Exact("/api/traces"), 14268)];
const JAEGER_GRPC: &[Route] = &[route(Prefix("/jaeger.api_v2.CollectorService"), 14250)];

/// The ports are those of the protocols' own collectors.
const RECEIVERS: [Receiver; 5] = [
    Receiver {
        option: "always-enable-otlp-grpc",
        key: ("otlp", Some("grpc")),
        listener: listener(4317, Protocol::Grpc, "otlp-grpc", OTLP_GRPC),
        path: None,
    },
    Receiver {
        option: "always-enable-otlp-http",
        key: ("otlp", Some("http")),
        listener: listener(4318, Protocol::Http, "otlp-http", OTLP_HTTP),
        path: Some(""),
    },
    Receiver {
        option: "always-enable-zipkin",
        key: ("zipkin", None),
        listener: listener(9411, Protocol::Http, "zipkin", ZIPKIN),
        path: Some("/api/v2/spans"),
    },
    Receiver {
        option: "always-enable-jaeger-thrift-http",
        key: ("jaeger", Some("thrift_http")),
        listener: listener(14268, Protocol::Http, "jaeger-http", JAEGER_HTTP),
        path: Some("/api/traces"),
    },
    Receiver {
        option: "always-enable-jaeger-grpc",
        key: ("jaeger", Some("grpc")),
        listener: listener(14250, Protocol::Grpc, "jaeger-grpc", JAEGER_GRPC),
        path: None,
    },
];

/// The receivers that the options open.
pub(super) fn open(options: &Options) -> impl Iterator<Item = Receiver> {
    RECEIVERS.into_iter().filter(|receiver| options.boolean(receiver.option))
}

#[cfg(test)]
mod tests {
    use muster_model::Product;

    use super::*;
    use crate::charm::coordinator;

    #[test]
    fn every_option_opens_its_receiver_and_no_other() {
        let charm = coordinator(Product::Tempo);
        let (none, _) = charm.validate(&std::collections::BTreeMap::new());
        assert_eq!(open(&none).count(), 0);
        for receiver in RECEIVERS {
            let config = [(receiver.option.to_owned(), true.into())].into();
            let (options, problems) = charm.validate(&config);
            assert_eq!(problems, []);
            let opened: Vec<_> = open(&options).map(|open| open.option).collect();
            assert_eq!(opened, [receiver.option]);
            for route in receiver.listener.routes {
                assert_eq!(route.to.port, receiver.listener.port);
            }
        }
    }
}
