//! A plan as Kubernetes objects: pure, the same objects for the same plan.
//!
//! [`objects`] makes everything that a coordinator and its workers own but their Units, which [`unit`] makes one by one; [`names`]
//! says what each is called,
//! and [`Deployment::temporary_worker`] makes the one Worker that no person writes. Not here: reading or writing any of it (`muster-kubernetes`).

mod access;
mod balancer;
mod budgets;
mod deployment;
pub mod images;
mod line;
pub mod names;
mod network;
mod object;
mod pods;
mod secrets;
mod services;
mod units;
mod volumes;
mod worker;

pub use deployment::{Deployment, objects};
pub use object::Object;
pub use units::{UnitObject, unit};
