//! The ports that every unit uses. Units differ by address, never by port.

/// HTTP of every workload: Mimir's default.
pub const HTTP_PORT: u16 = 8080;
/// gRPC between units: Mimir's default.
pub const GRPC_PORT: u16 = 9095;
/// Memberlist gossip: the default of Mimir, Loki and Tempo.
pub const GOSSIP_PORT: u16 = 7946;
/// The agent's own `/live`, `/ready` and `/metrics`. Free in all three products' port lists.
pub const AGENT_PORT: u16 = 3085;
