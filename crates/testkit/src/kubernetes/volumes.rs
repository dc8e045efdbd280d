//! Disks for claims, without a provisioner.

use std::fmt::Write as _;

use super::Cluster;

/// The class of claims that name none. Where a claim goes is decided with the pod that has it.
const CLASS: &str = "
{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer,
 metadata: {name: static, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}}
";

impl Cluster {
    /// Gives each of the first `nodes` nodes so many volumes of 10 GiB: directories in the node's memory. The first claims of a cluster
    /// get them; none is used twice.
    ///
    /// # Panics
    /// There is no such node.
    pub fn add_volumes(&self, nodes: u8, volumes: u8) {
        let mut text = CLASS.to_owned();
        for node in 1..=nodes {
            let directories: Vec<String> =
                (0..volumes).map(|number| format!("/var/lib/pv/{number}")).collect();
            let node_name = node.to_string();
            let mut make = vec!["exec", "-n", &node_name, "mkdir", "-p"];
            make.extend(directories.iter().map(String::as_str));
            self.run(&make);
            for (number, path) in directories.iter().enumerate() {
                // "local" and not "hostPath": the kubelet gives these to the pod's group.
                let _ = write!(
                    text,
                    "---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: node{node}-{number}}}
spec:
  storageClassName: static
  capacity: {{storage: 10Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {{path: {path}}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [node{node}]}}]}}]}}}}
"
                );
            }
        }
        let file = self.directory().join("volumes.yaml");
        std::fs::write(&file, text).expect("the directory is ours");
        let applied = self.kubectl(&["apply", "-f", &file.display().to_string()]);
        applied.expect("the volumes are valid");
    }
}
