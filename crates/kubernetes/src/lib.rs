//! The Kubernetes substrate.
