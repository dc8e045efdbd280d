//! The volumes that every pod has beside its disk.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath,
    ObjectFieldSelector, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The agent's own directory. In memory: what it remembers holds credentials.
pub(crate) const STATE: &str = "/run/muster";
/// Where the agent's program is put for the workload's container, under the name that it has in Muster's image.
pub(crate) const PROGRAM_DIRECTORY: &str = "/agent";
/// Where client libraries look for a pod's identity.
const IDENTITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token is good, in seconds. The kubelet renews it before.
const TOKEN_LIFE: i64 = 3600;

/// The volumes.
pub(crate) fn volumes() -> Vec<Volume> {
    let empty = |name: &str, in_memory: bool, size: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: in_memory.then(|| "Memory".to_owned()),
            size_limit: Some(Quantity(size.to_owned())),
        }),
        ..Volume::default()
    };
    vec![
        empty("program", false, "128Mi"),
        // Configs and what the agent remembers: kilobytes, some of them secret.
        empty("state", true, "16Mi"),
        empty("temporary", true, "256Mi"),
        identity(),
    ]
}

/// Where the init container has them: it writes the program and knows nothing else.
pub(crate) fn install_mounts() -> Vec<VolumeMount> {
    vec![mount("program", PROGRAM_DIRECTORY, false)]
}

/// Where the workload's container has them.
pub(crate) fn workload_mounts() -> Vec<VolumeMount> {
    vec![
        mount("program", PROGRAM_DIRECTORY, true),
        mount("state", STATE, false),
        mount("temporary", "/tmp", false),
        mount("identity", IDENTITY, true),
    ]
}

/// A volume at a path.
pub(crate) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The pod's identity at the API server, as the admission controller of service accounts would mount it, but short-lived.
fn identity() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(TOKEN_LIFE),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: "identity".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            default_mode: Some(0o400),
        }),
        ..Volume::default()
    }
}
