//! A worker's pods.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use muster_api::{Retain, Worker};
use muster_model::{AppName, GOSSIP_PORT, GRPC_PORT, HTTP_PORT, Role, RoleSet};

use crate::line::Line;
use crate::names::{WORKER, cluster_secret};
use crate::pods::{Kind, Placement, stateful_set_spec, template};
use crate::volumes::mount;
use crate::{Deployment, Object, images};

/// The claim and the volume of a unit's disk.
const DATA: &str = "data";
/// Where it is mounted. Each coordinator's data have a directory of their own there.
const DATA_MOUNT: &str = "/data";
/// The size of a disk that nobody gave one.
const DEFAULT_SIZE: &str = "10Gi";
/// What the agent takes beyond its workload's own time to end, in seconds.
const GRACE_MARGIN: i64 = 30;

/// The pods of one worker. `None`: the plan does not know it, or there is no image to run.
pub(crate) fn stateful_set(
    deployment: &Deployment<'_>,
    coordinator: &AppName,
    application: &AppName,
    worker: &Worker,
    line: &Line,
) -> Option<Object> {
    let planned = deployment.plan.workers.get(application)?;
    // The longest of all roles: the roles of a unit change without a new pod.
    let kill_delay = line.workload.kill_delay(&RoleSet::from([Role::All]));
    let image = deployment.coordinator.spec.images.as_ref().and_then(|images| images.workload.clone());
    let kind = Kind {
        component: WORKER,
        program: "/worker",
        command: "run",
        image: image.or_else(|| images::workload(line.product, line.version).map(str::to_owned))?,
        binary: images::binary(line.product),
        secret: cluster_secret(coordinator),
        data: format!("{DATA_MOUNT}/{coordinator}"),
        data_mount: Some(mount(DATA, DATA_MOUNT, false)),
        ports: &[("http", HTTP_PORT), ("grpc", GRPC_PORT), ("gossip", GOSSIP_PORT)],
        grace: i64::try_from(kill_delay.as_secs()).unwrap_or(i64::MAX).saturating_add(GRACE_MARGIN),
    };
    let template = template(deployment, coordinator, application, kind, &Placement::from(worker));
    let spec = StatefulSetSpec {
        volume_claim_templates: Some(vec![claim(worker)]),
        persistent_volume_claim_retention_policy: Some(retention(worker)),
        ..stateful_set_spec(application, planned, template)
    };
    Some(Object::StatefulSet(Box::new(StatefulSet {
        metadata: deployment.of_worker(coordinator, application, worker, application.as_str()),
        spec: Some(spec),
        status: None,
    })))
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
