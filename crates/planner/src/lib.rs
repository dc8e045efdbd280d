//! Every decision of Muster: [`plan`].
//!
//! Pure, total, deterministic. It takes what is observed of one coordinator and its workers and says what each unit is to
//! run, which units are to exist, what the load balancer routes and what the statuses are. A user's mistake is a
//! [`Finding`](muster_model::Finding) in the plan, never an error. The substrates gather [`Observed`] and carry out [`Plan`].
//!
//! The steps, each a module: [`validate`](self) the documents, decide on the `gate`, make the `config`, roll it out unit by unit
//! (`rollout`), lay out the load `balancer`, and word the `status`.

mod balancer;
mod claims;
mod config;
mod gate;
mod observed;
mod peers;
mod plan;
mod remote_write;
mod rollout;
mod status;
mod validate;

pub use claims::{Claim, contested};
pub use observed::{CarryOver, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, Seeds, Tls};
pub use plan::{Plan, PlannedApplication, Published, plan};
pub use remote_write::RemoteWriteTarget;
pub use status::unrelated_worker;
