//! A worker's pods.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use muster_api::{Retain, Worker};
use muster_model::{AppName, GOSSIP_PORT, GRPC_PORT, HTTP_PORT, Product, Role, RoleSet, Version};
use muster_planner::PlannedApplication;
use muster_products::workload;

use crate::names::{WORKER, cluster_secret};
use crate::pods::{Kind, Placement, selector, template};
use crate::{Deployment, Object, images};

/// The claim and the volume of a unit's disk.
const DATA: &str = "data";
/// Where it is mounted. Each coordinator's data have a directory of their own there.
const DATA_MOUNT: &str = "/data";
/// The size of a disk that nobody gave one.
const DEFAULT_SIZE: &str = "10Gi";
/// What the agent takes beyond its workload's own time to end, in seconds.
const GRACE_MARGIN: i64 = 30;

/// The pods of one worker: nothing for a product that this build does not run.
pub(crate) fn stateful_set(
    deployment: &Deployment<'_>,
    coordinator: &AppName,
    application: &AppName,
    worker: &Worker,
    product: Product,
    version: Version,
) -> Option<Object> {
    let planned = deployment.plan.workers.get(application)?;
    // The longest of all roles: the roles of a unit change without a new pod.
    let kill_delay = workload(product)?.kill_delay(&RoleSet::from([Role::All]));
    let image = deployment.coordinator.spec.images.as_ref().and_then(|images| images.workload.clone());
    let kind = Kind {
        component: WORKER,
        program: "/worker",
        command: "run",
        image: image.unwrap_or_else(|| images::workload(product, version)),
        binary: images::binary(product),
        secret: cluster_secret(coordinator),
        data: format!("{DATA_MOUNT}/{coordinator}"),
        data_mount: Some(VolumeMount {
            name: DATA.to_owned(),
            mount_path: DATA_MOUNT.to_owned(),
            ..VolumeMount::default()
        }),
        ports: &[("http", HTTP_PORT), ("grpc", GRPC_PORT), ("gossip", GOSSIP_PORT)],
        grace: i64::try_from(kill_delay.as_secs()).unwrap_or(i64::MAX).saturating_add(GRACE_MARGIN),
    };
    let spec = StatefulSetSpec {
        volume_claim_templates: Some(vec![claim(worker)]),
        persistent_volume_claim_retention_policy: Some(retention(worker)),
        ..spec(
            application,
            planned,
            template(deployment, coordinator, application, kind, &Placement::from(worker)),
        )
    };
    Some(Object::StatefulSet(Box::new(StatefulSet {
        metadata: deployment.of_worker(coordinator, application, worker, application.as_str()),
        spec: Some(spec),
        status: None,
    })))
}

/// What the StatefulSets of workers and load balancers have in common.
pub(crate) fn spec(
    application: &AppName,
    planned: &PlannedApplication,
    template: k8s_openapi::api::core::v1::PodTemplateSpec,
) -> StatefulSetSpec {
    StatefulSetSpec {
        // Units leave from the highest number down; a gap below one that is to stay is filled.
        replicas: Some(planned.units.last().map_or(0, |last| i32::try_from(last + 1).unwrap_or(i32::MAX))),
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

fn claim(worker: &Worker) -> PersistentVolumeClaim {
    let storage = worker.spec.storage.as_ref();
    let size = storage.and_then(|storage| storage.size.as_deref()).unwrap_or(DEFAULT_SIZE);
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(DATA.to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_owned()))].into()),
                limits: None,
            }),
            storage_class_name: storage.and_then(|storage| storage.class.clone()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn retention(worker: &Worker) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let retain = worker.spec.storage.as_ref().map(|storage| storage.retain).unwrap_or_default();
    let (when_deleted, when_scaled) = match retain {
        Retain::Always => ("Retain", "Retain"),
        Retain::WhenScaled => ("Delete", "Retain"),
        Retain::Never => ("Delete", "Delete"),
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some(when_scaled.to_owned()),
    }
}
