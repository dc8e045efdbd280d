//! Test doubles, clients and real-server fixtures. For tests, `cargo xtask demo` and `cargo xtask bench`; not published.
//!
//! Guards end what they started when they are dropped, also when a test fails. Nothing here waits for a fixed time:
//! [`wait_until`] waits for a condition with a deadline.

pub mod binaries;
pub mod cluster;
pub mod directory;
pub mod http;
pub mod kubernetes;
pub mod loopback;
pub mod model;
pub mod process;
pub mod prometheus;
pub mod remote_write;
pub mod s3;
pub mod servers;
pub mod standin;
pub mod tcp_proxy;
pub mod tls;
mod wait;

pub use process::Process;
pub use tcp_proxy::TcpProxy;
pub use tls::TlsTunnel;
pub use wait::wait_until;
