//! One unit behind the load balancer.

use std::fmt;
use std::net::IpAddr;

/// The address and port of a unit that serves a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    host: Host,
    port: u16,
    expected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Why an address or port is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The address is neither an IP address nor a DNS name.
    #[error("address {0:?} is not usable: give an IP address without brackets or zone, or a DNS name")]
    Address(String),
    /// The address is an IP address, but none that a single host can be reached at.
    #[error("address {0} is not usable: it does not name a single host")]
    NoHost(IpAddr),
    /// Nothing can listen on port 0.
    #[error("port 0 of {0:?} is not usable: give the port that the unit listens on")]
    Port(String),
}

impl Server {
    /// Checks `address`, an IP address or a DNS name (RFC 1123; its last label must not be a number, since resolvers
    /// take such names for addresses in other notations). A name must resolve when nginx loads the document, so
    /// prefer addresses.
    pub fn new(address: &str, port: u16) -> Result<Self, ServerError> {
        if port == 0 {
            return Err(ServerError::Port(address.to_owned()));
        }
        let host = match address.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => return Err(ServerError::NoHost(ip)),
            Ok(ip) => Host::Ip(ip),
            Err(_) if is_dns_name(address) => Host::Name(address.to_ascii_lowercase()),
            Err(_) => return Err(ServerError::Address(address.to_owned())),
        };
        Ok(Self { host, port, expected: false })
    }

    /// The same as one that does not serve yet and is expected to: it is asked again and again.
    #[must_use]
    pub fn expected(self) -> Self {
        Self { expected: true, ..self }
    }

    /// Whether it does not serve yet.
    pub(crate) fn is_expected(&self) -> bool {
        self.expected
    }
}

/// `address:port`, IPv6 addresses in brackets.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}:{}", bracketed(*ip), self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// An address as it stands before `:port`.
pub(crate) fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label) && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        let shown = |address| Server::new(address, 8080).map(|s| s.to_string());
        for (address, expected) in [
            ("127.10.1.3", "127.10.1.3:8080"),
            ("::1", "[::1]:8080"),
            ("fd00:0:0::7", "[fd00::7]:8080"),
            ("Mimir-0.mimir.ns.svc", "mimir-0.mimir.ns.svc:8080"),
            ("1.2.ns", "1.2.ns:8080"),
        ] {
            assert_eq!(shown(address).as_deref(), Ok(expected));
        }
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "a";
        for bad in [
            "",
            " ",
            "a b",
            "a;} server{listen 81;",
            "$host",
            "\"\n",
            "#",
            "a\r\nb",
            "{",
            "a\\",
            "a\0",
            "[::1]",
            "fe80::1%eth0",
            "1.2.3",
            "0x7f.1",
            "0x7f000001",
            "300.1.1.1",
            "127.0.0.1:80",
            "unix:/run/x",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "a_b",
            "é",
            "*.a",
            "${muster:revision}",
            &long_label,
            &long_name,
        ] {
            assert_eq!(shown(bad), Err(ServerError::Address(bad.to_owned())));
        }
        for bad in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert_eq!(shown(bad), Err(ServerError::NoHost(bad.parse().unwrap())));
        }
        assert_eq!(Server::new("a", 0), Err(ServerError::Port("a".to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_accepted_needs_no_quotes(address in "\\PC*|[a-z0-9.:-]{1,20}", port: u16) {
            if let Ok(server) = Server::new(&address, port) {
                let text = server.to_string();
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b)), "{}", text);
            }
        }
    }
}
