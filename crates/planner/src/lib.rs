//! Every decision of Muster: [`plan`].
//!
//! Pure, total, deterministic. It takes what is observed of one coordinator and its workers and says what each unit is to
//! run, which units are to exist, what the load balancer routes and what the statuses are. A user's mistake is a
//! [`Finding`](muster_model::Finding) in the plan, never an error. The substrates gather [`Observed`] and carry out [`Plan`].
//!
//! The steps, each a module: [`validate`](self) the documents, decide on the `gate`, make the `config`, roll it out unit by unit
//! (`rollout`) with a way back for what does not work (`trial`), let go what a person gives up (`abandon`), let a `temporary` worker stand in
//! where units trade roles, lay out the load `balancer`, and word the `status`.
//! [`preview`](fn@preview) says what an edit would change, [`forecast`](fn@forecast) which steps are taken then, [`specimens`] what units would be told if there were any.

mod abandon;
mod balancer;
mod claims;
mod complaint;
mod config;
mod forecast;
mod gate;
mod hold;
mod observed;
mod parting;
mod peers;
mod plan;
mod preview;
mod remote_write;
mod rollout;
mod specimen;
mod status;
mod temporary;
mod transition;
mod trial;
mod validate;

pub use abandon::{ACTION as ABANDON_DATA, Abandonment, Consent};
pub use claims::{Claim, contested};
pub use config::UNITS_FOR_THREE_COPIES;
pub use forecast::{Act, Data, Forecast, Obstacle, Pace, Service, Step, Until, Wait, forecast};
pub use observed::{CarryOver, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, Seeds, Tls};
pub use plan::{Plan, PlannedApplication, Published, plan};
pub use preview::{Change, Preview, Rendition, preview};
pub use remote_write::RemoteWriteTarget;
pub use specimen::{Specimen, Specimens, specimens};
pub use status::unrelated_worker;
pub use temporary::Temporary;
