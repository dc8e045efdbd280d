//! Where units are reached: the gateway, which clients use, and the name that units find each other by.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use muster_model::{AppName, GOSSIP_PORT, GRPC_PORT, HTTP_PORT};

use crate::names::{
    BALANCER, COMPONENT_LABEL, COORDINATOR_LABEL, MANAGED_BY_LABEL, MANAGER, WORKER, gossip_service,
};
use crate::{Deployment, Object};

pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName) -> [Object; 2] {
    [gateway(deployment, name), gossip(deployment, name)]
}

fn gateway(deployment: &Deployment<'_>, name: &AppName) -> Object {
    let main = if deployment.coordinator.spec.tls.is_some() { "https" } else { "http" };
    let listeners = deployment.plan.listeners.iter().enumerate();
    let listeners =
        listeners.map(|(at, listener)| (if at == 0 { main } else { listener.name }, listener.port));
    Object::Service(Service {
        metadata: deployment.of_coordinator(name, name.as_str()),
        spec: Some(ServiceSpec {
            ports: Some(listeners.map(|(name, number)| port(name, number)).collect()),
            selector: Some(pods(name, BALANCER)),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

fn gossip(deployment: &Deployment<'_>, name: &AppName) -> Object {
    Object::Service(Service {
        metadata: deployment.of_coordinator(name, gossip_service(name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // A unit is not ready before it has met the others.
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![port("http", HTTP_PORT), port("grpc", GRPC_PORT), port("gossip", GOSSIP_PORT)]),
            selector: Some(pods(name, WORKER)),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        target_port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// Selects a coordinator's pods of one kind.
pub(crate) fn pods(coordinator: &AppName, component: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY_LABEL, MANAGER), (COORDINATOR_LABEL, coordinator.as_str()), (COMPONENT_LABEL, component)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
