//! Who may talk to whom, where `spec.networkPolicies` asks for it.
//!
//! Only what comes in is limited: where the object store and the API server are is not known to any policy.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use muster_model::{AGENT_PORT, AppName, GOSSIP_PORT, GRPC_PORT, HTTP_PORT};

use crate::names::{BALANCER, WORKER, balancer_role, worker_role};
use crate::services::pods;
use crate::{Deployment, Object};

pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName) -> Vec<Object> {
    if !deployment.coordinator.spec.network_policies {
        return Vec::new();
    }
    let from = |component| NetworkPolicyPeer {
        pod_selector: Some(selects(name, component)),
        ..NetworkPolicyPeer::default()
    };
    // The kubelet asks for health, and Prometheus for metrics, from anywhere.
    let health = || allow(&[AGENT_PORT], None);
    let listeners = || deployment.plan.listeners.iter();
    let served: BTreeSet<u16> = listeners().flat_map(|l| l.routes).map(|route| route.to.port).collect();
    let taken: Vec<u16> = listeners().map(|listener| listener.port).collect();
    let workers = vec![
        allow(&[HTTP_PORT, GRPC_PORT, GOSSIP_PORT], Some(from(WORKER))),
        allow(&Vec::from_iter(served), Some(from(BALANCER))),
        health(),
    ];
    let balancers = vec![allow(&taken, None), health()];
    vec![
        object(deployment, name, worker_role(name), WORKER, workers),
        object(deployment, name, balancer_role(name), BALANCER, balancers),
    ]
}

fn selects(name: &AppName, component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(pods(name, component)), match_expressions: None }
}

fn allow(ports: &[u16], from: Option<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    let port = |port: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int((*port).into())),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule {
        ports: Some(ports.iter().map(port).collect()),
        from: from.map(|from| vec![from]),
    }
}

fn object(
    deployment: &Deployment<'_>,
    name: &AppName,
    policy: String,
    component: &str,
    ingress: Vec<NetworkPolicyIngressRule>,
) -> Object {
    Object::NetworkPolicy(NetworkPolicy {
        metadata: deployment.of_coordinator(name, policy),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selects(name, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    })
}
