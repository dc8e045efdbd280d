//! Findings: users' mistakes and obstacles, as values. None hides another.

use serde::{Deserialize, Serialize};

use crate::{AppName, Status, UnitName, WorkloadStatus};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident,)*) => {
        /// Why something is as it is: a closed set of stable CamelCase words for conditions, events and `-o json`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])* $variant,)* }

        impl Reason {
            /// Every reason with its meaning, for the reference page.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, concat!($($doc),*)),)*];

            /// The reason as written in conditions.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

reasons! {
    /// Everything that the condition speaks of is as asked.
    AsExpected,
    /// The product or version line is not supported by this build.
    UnsupportedProduct,
    /// No S3 relation: `spec.s3` is absent.
    ObjectStoreMissing,
    /// The S3 Secret is absent, incomplete or holds values that cannot be right.
    ObjectStoreInvalid,
    /// The object store refused the credentials.
    ObjectStoreDenied,
    /// The bucket does not exist.
    BucketMissing,
    /// The object store does not answer.
    ObjectStoreUnreachable,
    /// The object store was not probed yet.
    ObjectStoreUnknown,
    /// Another coordinator already uses the same bucket and path.
    BucketTaken,
    /// Several documents of a model have the same name.
    NameTaken,
    /// An object that a deployment needs is there already and belongs to somebody else. It is not overwritten.
    ForeignObject,
    /// Units leave roles that nobody else has, and no temporary worker can stand in: its name is taken, or would be too long.
    NoTemporaryWorker,
    /// The API server refused a write.
    WriteRefused,
    /// The disks that units have are not what is asked for now, and stay.
    StorageKept,
    /// The TLS Secret is absent or does not hold a usable certificate and key.
    TlsInvalid,
    /// Required roles are not covered by any unit.
    MissingRequiredRoles,
    /// Optional roles are not covered by any unit.
    MissingOptionalRoles,
    /// The worker names no coordinator, or one that does not exist.
    CoordinatorMissing,
    /// A worker's document cannot be read. Its units stay as they are.
    WorkerUnreadable,
    /// The worker's charm is for another product than its coordinator.
    ProductMismatch,
    /// The worker has no role.
    NoRole,
    /// The worker is given a role that its product does not have.
    UnknownRole,
    /// The worker is given roles that one process cannot run together.
    RoleConflict,
    /// The worker's units take requests but answer none until another unit runs a role that they rely on.
    ReliesOnMissingRole,
    /// No receiver is open: nothing can be sent to the deployment.
    NoReceiver,
    /// Metrics cannot be written to a coordinator that is named for it.
    RemoteWriteUnusable,
    /// There are metrics-generators, and nowhere to write metrics to.
    MetricsGeneratorDisabled,
    /// A charm option is not known.
    UnknownOption,
    /// A charm option has a value of the wrong type or out of range.
    InvalidOption,
    /// An override names a path that Muster owns.
    OwnedOverride,
    /// The workload's own check refused the config.
    ConfigRejected,
    /// The application has zero units.
    NoUnits,
    /// Units are being moved to a new revision or to new roles.
    RollingOut,
    /// The rollout stopped because a unit did not come back.
    RolloutHalted,
    /// Units are starting and not yet ready.
    Starting,
    /// A unit's workload fails again and again.
    CrashLoop,
    /// A unit's agent cannot be reached.
    AgentLost,
    /// Services are stopped until the deployment is coherent again.
    Stopped,
    /// Units are being removed.
    Removing,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An application.
    Application(AppName),
    /// One unit.
    Unit(UnitName),
}

/// One thing that a person should know: about whom, how bad, why, and what fixes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// How bad it is for the subject.
    pub status: WorkloadStatus,
    /// Why, as a stable word.
    pub reason: Reason,
    /// What is wrong and what fixes it, in one line.
    pub message: String,
}

impl Finding {
    /// A finding about an application.
    pub fn application(
        app: &AppName,
        status: WorkloadStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { subject: Subject::Application(app.clone()), status, reason, message: message.into() }
    }

    /// The finding as its subject's status.
    #[must_use]
    pub fn as_status(&self) -> Status {
        Status::new(self.status, self.message.clone())
    }
}
