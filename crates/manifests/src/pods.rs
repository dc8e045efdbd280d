//! What all pods, and the StatefulSets that make them, have in common: the agent in the workload's own image, under Pod Security
//! `restricted`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, Toleration, TopologySpreadConstraint, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use muster_api::{Coordinator, Images, Worker};
use muster_model::{AGENT_PORT, AppName};
use muster_planner::PlannedApplication;

use crate::Deployment;
use crate::names::{APPLICATION_LABEL, COMPONENT_LABEL, MANAGED_BY_LABEL, MANAGER, WORKLOAD_CONTAINER};
use crate::volumes::{PROGRAM_DIRECTORY, STATE, install_mounts, volumes, workload_mounts};

/// The user and group that everything runs as: the one of Mimir's and Loki's images.
const USER: i64 = 10_001;
/// Where users want an application's pods to run, and with what.
pub(crate) struct Placement<'a> {
    resources: Option<&'a ResourceRequirements>,
    node_selector: &'a BTreeMap<String, String>,
    affinity: Option<&'a Affinity>,
    tolerations: &'a [Toleration],
    spread: Option<&'a [TopologySpreadConstraint]>,
    priority_class: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Worker> for Placement<'a> {
    fn from(worker: &'a Worker) -> Self {
        let spec = &worker.spec;
        Self {
            resources: spec.resources.as_ref(),
            node_selector: &spec.node_selector,
            affinity: spec.affinity.as_ref(),
            tolerations: &spec.tolerations,
            spread: spec.topology_spread_constraints.as_deref(),
            priority_class: spec.priority_class_name.as_deref(),
            labels: &spec.labels,
        }
    }
}

impl<'a> From<&'a Coordinator> for Placement<'a> {
    fn from(coordinator: &'a Coordinator) -> Self {
        let spec = &coordinator.spec;
        Self {
            resources: spec.resources.as_ref(),
            node_selector: &spec.node_selector,
            affinity: spec.affinity.as_ref(),
            tolerations: &spec.tolerations,
            spread: spec.topology_spread_constraints.as_deref(),
            priority_class: spec.priority_class_name.as_deref(),
            labels: &spec.labels,
        }
    }
}

/// What differs between the pods of workers and of load balancers.
pub(crate) struct Kind<'a> {
    /// [`crate::names::WORKER`] or [`crate::names::BALANCER`].
    pub(crate) component: &'a str,
    /// The program in Muster's image that is the agent, and what tells it which workload to run.
    pub(crate) program: &'a str,
    pub(crate) command: &'a str,
    /// The workload's image, and its binary in there.
    pub(crate) image: String,
    pub(crate) binary: &'a str,
    /// The Secret of the cluster relation.
    pub(crate) secret: String,
    /// Where the workload's data go, and the volume of it.
    pub(crate) data: String,
    pub(crate) data_mount: Option<VolumeMount>,
    pub(crate) ports: &'a [(&'a str, u16)],
    /// How long the agent and its workload may take to end, in seconds.
    pub(crate) grace: i64,
}

/// The template of an application's pods. No role, option or number of units is in it: they change without a new pod.
pub(crate) fn template(
    deployment: &Deployment<'_>,
    coordinator: &AppName,
    application: &AppName,
    kind: Kind<'_>,
    placement: &Placement<'_>,
) -> PodTemplateSpec {
    // What users ask for first: what Muster finds its pods by is not theirs to change.
    let mut labels = placement.labels.clone();
    labels.extend(deployment.labels(coordinator, application));
    labels.insert(COMPONENT_LABEL.to_owned(), kind.component.to_owned());
    let images = deployment.coordinator.spec.images.as_ref();
    let program = format!("{PROGRAM_DIRECTORY}{}", kind.program);
    let install = Container {
        name: "install".to_owned(),
        image: Some(deployment.image.to_owned()),
        command: Some(texts(&[kind.program, "install", &program])),
        // The same as the workload's, which costs nothing: they do not run at the same time. Quotas and the class of service
        // look at every container.
        resources: placement.resources.cloned(),
        security_context: Some(locked()),
        volume_mounts: Some(install_mounts()),
        ..Container::default()
    };
    let mut mounts = workload_mounts();
    mounts.extend(kind.data_mount.clone());
    let workload = Container {
        name: WORKLOAD_CONTAINER.to_owned(),
        image: Some(kind.image.clone()),
        command: Some(texts(&[&program, kind.command])),
        env: Some(environment(deployment, application, &kind)),
        ports: Some(ports(kind.ports)),
        resources: placement.resources.cloned(),
        security_context: Some(locked()),
        startup_probe: Some(probe("/live", 1, 60)),
        liveness_probe: Some(probe("/live", 10, 3)),
        readiness_probe: Some(probe("/ready", 1, 1)),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            service_account_name: Some(application.to_string()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(kind.grace),
            security_context: Some(user()),
            init_containers: Some(vec![install]),
            containers: vec![workload],
            volumes: Some(volumes()),
            image_pull_secrets: pull_secrets(images),
            // Also where nothing is asked for: an empty one takes away what somebody added.
            node_selector: Some(placement.node_selector.clone()),
            affinity: placement.affinity.cloned(),
            tolerations: (!placement.tolerations.is_empty()).then(|| placement.tolerations.to_vec()),
            topology_spread_constraints: Some(match placement.spread {
                Some(spread) => spread.to_vec(),
                None => spread(application),
            }),
            priority_class_name: placement.priority_class.map(str::to_owned),
            ..PodSpec::default()
        }),
    }
}

/// What the StatefulSets of workers and load balancers have in common.
pub(crate) fn stateful_set_spec(
    application: &AppName,
    planned: &PlannedApplication,
    template: PodTemplateSpec,
) -> StatefulSetSpec {
    StatefulSetSpec {
        // Units leave from the highest number down; a gap below one that is to stay is filled.
        replicas: Some(
            planned.units.last().map_or(0, |last| i32::try_from(last.saturating_add(1)).unwrap_or(i32::MAX)),
        ),
        selector: LabelSelector { match_labels: Some(selector(application)), match_expressions: None },
        // Required, and never looked up: units are reached by their addresses.
        service_name: Some(application.to_string()),
        pod_management_policy: Some("Parallel".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("OnDelete".to_owned()),
            rolling_update: None,
        }),
        revision_history_limit: Some(2),
        template,
        ..StatefulSetSpec::default()
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn environment(deployment: &Deployment<'_>, application: &AppName, kind: &Kind<'_>) -> Vec<EnvVar> {
    let value = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    };
    vec![
        // The kubelet fills in only what stands further up.
        field("POD_INDEX", "metadata.labels['apps.kubernetes.io/pod-index']"),
        value("MUSTER_UNIT", &format!("{application}/$(POD_INDEX)")),
        field("MUSTER_INSTANCE", "metadata.uid"),
        field("MUSTER_ADDRESS", "status.podIP"),
        value("MUSTER_NAMESPACE", deployment.namespace),
        value("MUSTER_RELATION_SECRET", &kind.secret),
        value("MUSTER_DIRECTORY", STATE),
        value("MUSTER_DATA", &kind.data),
        value("MUSTER_BINARY", kind.binary),
        value("MUSTER_LOG_FORMAT", "json"),
    ]
}

fn ports(ports: &[(&str, u16)]) -> Vec<ContainerPort> {
    let all = ports.iter().copied().chain([("agent", AGENT_PORT)]);
    all.map(|(name, port)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    })
    .collect()
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(AGENT_PORT.into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// What Pod Security `restricted` asks of a container, and a root file system that nobody writes.
fn locked() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(texts(&["ALL"])), add: None }),
        ..SecurityContext::default()
    }
}

fn user() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn pull_secrets(images: Option<&Images>) -> Option<Vec<LocalObjectReference>> {
    let secrets = images.map(|images| images.pull_secrets.as_slice()).unwrap_or_default();
    let references =
        secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect::<Vec<_>>();
    (!references.is_empty()).then_some(references)
}

/// Over zones and nodes, as well as it can be done.
fn spread(application: &AppName) -> Vec<TopologySpreadConstraint> {
    let selector = LabelSelector { match_labels: Some(selector(application)), match_expressions: None };
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            max_skew: 1,
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector.clone()),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

/// Selects an application's pods. The coordinator is not part of it: a worker can be related to another one.
pub(crate) fn selector(application: &AppName) -> BTreeMap<String, String> {
    [(MANAGED_BY_LABEL, MANAGER), (APPLICATION_LABEL, application.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
