//! Tempo, Mimir or Loki: which one comes with the shared data.

use std::io;
use std::path::{Path, PathBuf};

use muster_model::{HTTP_PORT, RoleSet};
use muster_products::{Disk, Ending, UnitValues};
use muster_relation::{Assignment, ClusterData};

use super::{Call, File, Flushed, Launch, LaunchError, Probe, Quiesce, Ring, Workload, document, text};
use crate::Settings;
use crate::machine::{Manners, StopSignal};

const CONFIG: &str = "config.yaml";
const CA: &str = "s3-ca.pem";

/// A product's binary.
#[derive(Debug, Clone)]
pub struct Product {
    /// The binary. It must be the product that the coordinator is for.
    pub binary: PathBuf,
}

fn product(cluster: &ClusterData) -> &'static dyn muster_products::Workload {
    muster_products::workload(cluster.product)
}

/// `roles` with its meta roles expanded.
fn atomic(cluster: &ClusterData, roles: &RoleSet) -> RoleSet {
    match muster_products::role_table(cluster.product, cluster.version) {
        Ok(table) => table.expand(roles),
        Err(_) => roles.clone(),
    }
}

/// The roles that hold acknowledged data, out of `roles` with its meta roles expanded.
fn data_roles(cluster: &ClusterData, roles: &RoleSet) -> RoleSet {
    let product = product(cluster);
    atomic(cluster, roles).iter().filter(|role| product.holds_data(*role)).collect()
}

/// Whether a process with these roles shows the ring that it sees.
fn shows_ring(cluster: &ClusterData, roles: &RoleSet) -> bool {
    product(cluster).ring().is_shown_by(&atomic(cluster, roles))
}

impl Workload for Product {
    fn manners(&self, assignment: &Assignment, cluster: &ClusterData) -> Manners {
        let product = product(cluster);
        let quiesce = product.quiesce(&assignment.roles);
        Manners {
            kill_delay: product.kill_delay(&assignment.roles),
            stop_signal: StopSignal::Terminate,
            leaves: !product.leave_calls(&assignment.roles).is_empty(),
            quiesces: quiesce.is_some(),
            takes_nothing: quiesce.is_some_and(|quiesce| quiesce.takes_nothing.is_some()),
            shows_ring: shows_ring(cluster, &assignment.roles),
            data_roles: data_roles(cluster, &assignment.roles),
            checked: true,
            reloads: false,
        }
    }

    fn launch(
        &self,
        settings: &Settings,
        assignment: &Assignment,
        cluster: &ClusterData,
        _directory: &Path,
    ) -> Result<Launch, LaunchError> {
        let product = product(cluster);
        let storage = cluster.object_storage.as_ref().ok_or(LaunchError::NoObjectStorage)?;
        let values = UnitValues {
            address: settings.address.to_string(),
            id: settings.unit.label(),
            data_directory: text(&settings.data_directory)?.to_owned(),
            peers: assignment.peers.clone(),
            seeds: assignment.seeds.clone(),
            roles: assignment.roles.clone(),
            access_key: storage.access_key.clone(),
            secret_key: storage.secret_key.clone(),
            // Relative to the working directory, like the config itself.
            ca_file: storage.tls_ca_chain.is_some().then(|| CA.to_owned()),
        };
        let config = product.unit_config(document(assignment, cluster)?, &values)?;
        let mut files = vec![File { name: CONFIG.to_owned(), content: config }];
        files.extend(storage.tls_ca_chain.clone().map(|content| File { name: CA.to_owned(), content }));
        let call = |call: &muster_products::HttpCall| Call {
            port: HTTP_PORT,
            method: call.method.to_owned(),
            path: call.path.to_owned(),
        };
        Ok(Launch {
            program: self.binary.clone(),
            arguments: product.arguments(&assignment.roles, CONFIG),
            check_arguments: Some(product.check_arguments(&assignment.roles, CONFIG)),
            directories: vec![settings.data_directory.clone()],
            files,
            links: Vec::new(),
            probe: Probe::Http { port: HTTP_PORT, path: product.ready_path().to_owned() },
            quiesce: product.quiesce(&assignment.roles).map(|how| Quiesce { port: HTTP_PORT, how }),
            ring: shows_ring(cluster, &assignment.roles)
                .then(|| Ring { port: HTTP_PORT, page: product.ring() }),
            leave_calls: product.leave_calls(&assignment.roles).iter().map(call).collect(),
        })
    }

    fn flushed(&self, assignment: &Assignment, cluster: &ClusterData) -> Option<Flushed> {
        product(cluster).flushed(&assignment.roles).map(|page| Flushed { port: HTTP_PORT, page })
    }

    fn held(
        &self,
        assignment: &Assignment,
        cluster: &ClusterData,
        disk: &dyn Disk,
        ending: Ending,
    ) -> io::Result<Option<String>> {
        product(cluster).held(&assignment.roles, disk, ending)
    }

    fn check_message(&self, cluster: &ClusterData, stderr: &str) -> String {
        product(cluster).check_message(stderr)
    }
}
