//! Where a unit is reached.

use std::fmt;
use std::net::IpAddr;

use super::DatabagError;

/// A DNS name or an IP address, without scheme and port. What a unit writes ends up in the configs of others, so
/// nothing else passes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// The longest DNS name as text (RFC 1035).
    pub const MAX_LEN: usize = 253;

    /// The key that holds an address.
    pub(super) const KEY: &str = "address";

    /// Checks `text` and wraps it.
    ///
    /// # Errors
    /// It is neither an IP address nor made of what DNS names are made of: letters, digits, `-`, `_` and `.`.
    pub fn new(text: impl Into<String>) -> Result<Self, DatabagError> {
        let text = text.into();
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(named);
        if name || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text))
        } else {
            Err(DatabagError::Unusable {
                key: Self::KEY,
                expected: "a DNS name or an IP address, without scheme and port",
            })
        }
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_alone() {
        let longest = "a".repeat(Address::MAX_LEN);
        for good in ["w-0.w-endpoints.ns.svc.cluster.local", "localhost", "10.1.2.3", "fd00::6", &longest] {
            assert_eq!(Address::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(Address::MAX_LEN + 1);
        for bad in ["", "http://w-0", "w-0:8080", "[fd00::6]", "w 0", "w-0;", "w-0\n", "é", &too_long] {
            assert!(Address::new(bad).is_err(), "{bad}");
        }
    }
}
