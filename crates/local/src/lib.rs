//! The single-machine substrate: model directory, unit processes, embedded S3, control socket.

pub mod control;
