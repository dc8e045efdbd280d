//! The ports that every unit uses. Units differ by address, never by port.

/// `host:port`, an IPv6 address in brackets.
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// HTTP of every workload: Mimir's default.
pub const HTTP_PORT: u16 = 8080;
/// gRPC between units: Mimir's default.
pub const GRPC_PORT: u16 = 9095;
/// Memberlist gossip: the default of Mimir, Loki and Tempo.
pub const GOSSIP_PORT: u16 = 7946;
/// The agent's own `/live`, `/ready` and `/metrics`. Free in all three products' port lists.
pub const AGENT_PORT: u16 = 3085;
