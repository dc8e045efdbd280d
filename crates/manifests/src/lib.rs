//! A plan as Kubernetes objects: pure, the same bytes for the same plan.
//!
//! [`objects`] makes everything that a coordinator and its workers own but their Units; [`names`] says what each is called.
//! Not here: reading or writing any of it (`muster-kubernetes`).

pub mod names;
mod object;

pub use object::Object;
