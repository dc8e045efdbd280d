//! What a model is: its documents, its units, and what was decided about them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use muster_api::{Coordinator, Document, Kind, S3_SECRET_TYPE, Worker};
use muster_model::{AppName, Secret, UnitName};
use muster_planner::{CarryOver, Consent};
use muster_relation::Assignment;
use serde::{Deserialize, Serialize};

/// The application that the embedded S3 server is shown as.
pub(crate) const OBJECT_STORE_APP: &str = "object-store";

/// Everything of a model that outlives the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// [`State::FORMAT`] of the build that wrote it.
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// An id that no other model has. Part of every gossip label.
    pub id: String,
    /// The second number of the model's addresses, 127.X.0.0/16.
    pub network: u8,
    /// The last address handed out, counted from the network's first. Addresses are not handed out again to other units, so
    /// that no unit is taken for one that had its address before.
    pub last_host: u16,
    /// The documents, in order of their creation.
    pub documents: Vec<Stored>,
    /// How often the documents were edited.
    #[serde(default)]
    pub edits: u64,
    /// The units that exist.
    pub units: BTreeMap<UnitName, UnitRecord>,
    /// The addresses of all units that ever existed: a unit that comes back finds its disk and its address again.
    pub addresses: BTreeMap<UnitName, Ipv4Addr>,
    /// What the last plan of each coordinator decided.
    pub carry: BTreeMap<AppName, CarryOver>,
    /// The coordinator whose assignments each worker's units carry.
    pub attached: BTreeMap<AppName, AppName>,
    /// The embedded S3 server, where one was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<EmbeddedStore>,
}

/// A document and how it came here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The document.
    pub document: Document,
    /// The document as the file given to `muster up` last had it. A file that did not change overwrites nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_file: Option<Document>,
    /// Whether it is on its way out: its units are stopped first.
    #[serde(default)]
    pub removing: bool,
}

/// A unit that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitRecord {
    /// Tells this unit from an earlier one of the same name.
    pub instance: String,
    /// Its loopback address.
    pub address: Ipv4Addr,
    /// What it was last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Assignment>,
    /// What somebody consented to lose with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

/// The embedded S3 server's credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmbeddedStore {
    /// The access key.
    pub access_key: Secret,
    /// The secret key.
    pub secret_key: Secret,
}

impl State {
    /// The newest format that this build reads and the one that it writes.
    pub const FORMAT: u32 = 1;

    /// A new model without documents.
    #[must_use]
    pub fn new(name: String, network: u8, id: String) -> Self {
        Self {
            format: Self::FORMAT,
            name,
            id,
            network,
            last_host: 0,
            documents: Vec::new(),
            edits: 0,
            units: BTreeMap::new(),
            addresses: BTreeMap::new(),
            carry: BTreeMap::new(),
            attached: BTreeMap::new(),
            object_store: None,
        }
    }

    /// The document of that kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Stored> {
        self.documents.iter().find(|s| s.document.kind() == kind && document_name(&s.document) == name)
    }

    /// The document of that kind and name, to be changed.
    pub fn find_mut(&mut self, kind: Kind, name: &str) -> Option<&mut Stored> {
        self.documents.iter_mut().find(|s| s.document.kind() == kind && document_name(&s.document) == name)
    }

    /// The coordinators in order of their creation, with whether they are on their way out.
    pub fn coordinators(&self) -> impl Iterator<Item = (AppName, &Coordinator, bool)> {
        self.documents.iter().filter_map(|stored| match &stored.document {
            Document::Coordinator(c) => Some((app_name(&stored.document)?, c.as_ref(), stored.removing)),
            _ => None,
        })
    }

    /// The workers in order of their creation, with whether they are on their way out.
    pub fn workers(&self) -> impl Iterator<Item = (AppName, &Worker, bool)> {
        self.documents.iter().filter_map(|stored| match &stored.document {
            Document::Worker(w) => Some((app_name(&stored.document)?, w.as_ref(), stored.removing)),
            _ => None,
        })
    }

    /// The values of the Secret of that name and type.
    #[must_use]
    pub fn secret(&self, name: &str, kind: &str) -> Option<Result<BTreeMap<String, Secret>, String>> {
        let Document::Secret(secret) = &self.find(Kind::Secret, name)?.document else { return None };
        (secret.type_.as_deref() == Some(kind)).then(|| muster_api::secret_values(secret))
    }

    /// The S3 applications by name.
    pub fn s3_applications(
        &self,
    ) -> impl Iterator<Item = (AppName, Result<BTreeMap<String, Secret>, String>)> {
        self.documents.iter().filter_map(|stored| match &stored.document {
            Document::Secret(secret) if secret.type_.as_deref() == Some(S3_SECRET_TYPE) => {
                Some((app_name(&stored.document)?, muster_api::secret_values(secret)))
            }
            _ => None,
        })
    }

    /// The units of an application that exist.
    pub fn units_of(&self, app: &AppName) -> impl Iterator<Item = (&UnitName, &UnitRecord)> {
        self.units.range(app.unit(0)..=app.unit(u32::MAX))
    }

    /// The address of a unit: its former one where it had one, else one that no unit ever had.
    pub fn address(&mut self, unit: &UnitName) -> Option<Ipv4Addr> {
        if let Some(address) = self.addresses.get(unit) {
            return Some(*address);
        }
        // The last address of the network is its broadcast address.
        let host = self.last_host.checked_add(1).filter(|host| *host < u16::MAX)?;
        let [third, fourth] = host.to_be_bytes();
        let address = Ipv4Addr::new(127, self.network, third, fourth);
        self.last_host = host;
        self.addresses.insert(unit.clone(), address);
        Some(address)
    }
}

/// `metadata.name`, or nothing for a document without one, which is never stored.
pub(crate) fn document_name(document: &Document) -> &str {
    let name = match document {
        Document::Coordinator(c) => &c.metadata.name,
        Document::Worker(w) => &w.metadata.name,
        Document::Secret(s) => &s.metadata.name,
    };
    name.as_deref().unwrap_or_default()
}

fn app_name(document: &Document) -> Option<AppName> {
    AppName::new(document_name(document)).ok()
}
