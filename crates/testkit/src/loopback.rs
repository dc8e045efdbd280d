//! Addresses on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// An address of 127.0.0.1 on which nothing listens. Another process could take it before its user does; the kernel
/// hands out ports in turn, so in practice none does.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn free() -> SocketAddr {
    free_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// As [`free`], on that address.
///
/// # Panics
/// No port is free there.
#[must_use]
pub fn free_on(address: IpAddr) -> SocketAddr {
    TcpListener::bind((address, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a loopback port is free")
}
