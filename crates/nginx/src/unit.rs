//! Filling the shared document with one unit's values.
//!
//! The document is computed once and hashed for all load balancer units, so it cannot hold what differs between them.
//! Placeholders stand inside quoted arguments, and what replaces them needs no escape there.

use std::net::IpAddr;

use muster_model::Revision;

use crate::server::bracketed;

/// The unit's address.
pub(crate) const UNIT_ADDRESS: &str = "${muster:unit-address}";
/// The unit's address as it stands before a port: IPv6 in brackets.
pub(crate) const UNIT_HOST: &str = "${muster:unit-host}";
/// The revision of the document.
pub(crate) const REVISION: &str = "${muster:revision}";
/// How every placeholder begins.
const BEGIN: &str = "${muster:";

/// What differs between load balancer units.
#[derive(Debug, Clone, Copy)]
pub struct UnitValues<'a> {
    /// The IP address to listen on.
    pub address: &'a str,
    /// The revision of the document, which its workers answer at [`READY_PATH`](crate::READY_PATH).
    pub revision: &'a Revision,
}

/// Why a document cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The unit's address is no IP address.
    #[error("unit address {0:?} is not usable: give an IP address without brackets, zone or port")]
    Address(String),
    /// The text has no place for a value that every load balancer document has: it is something else.
    #[error("the text is no load balancer document: it lacks {0}")]
    Lacks(&'static str),
    /// The document has a placeholder that this version does not know.
    #[error("the document asks for {0:?}, which this version does not know: upgrade it")]
    Unknown(String),
}

/// Fills the document `text` for one unit.
pub fn unit_document(text: &str, values: &UnitValues<'_>) -> Result<String, UnitError> {
    let address: IpAddr =
        values.address.parse().map_err(|_| UnitError::Address(values.address.to_owned()))?;
    let replacements = [
        (UNIT_ADDRESS, address.to_string()),
        (UNIT_HOST, bracketed(address)),
        (REVISION, values.revision.to_string()),
    ];
    let mut filled = text.to_owned();
    for (placeholder, value) in &replacements {
        if !filled.contains(placeholder) {
            return Err(UnitError::Lacks(placeholder));
        }
        filled = filled.replace(placeholder, value);
    }
    match filled.find(BEGIN) {
        None => Ok(filled),
        Some(start) => {
            let rest = &filled[start..];
            let end = rest.find(['}', '\n']).unwrap_or(rest.len());
            Err(UnitError::Unknown(rest[..end].trim_start_matches("${").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_and_checked() {
        let revision = Revision::of([b"a".as_slice()]);
        let fill =
            |text: &str, address: &str| unit_document(text, &UnitValues { address, revision: &revision });
        let text = "listen \"${muster:unit-host}:8080\"; allow \"${muster:unit-address}\"; return 200 \"${muster:revision}\";";
        assert_eq!(
            fill(text, "127.1.2.3").unwrap(),
            format!("listen \"127.1.2.3:8080\"; allow \"127.1.2.3\"; return 200 \"{revision}\";")
        );
        assert!(fill(text, "fd00::1").unwrap().starts_with("listen \"[fd00::1]:8080\"; allow \"fd00::1\";"));
        for bad in ["", "localhost", "[::1]", "127.0.0.1;", "127.0.0.1:80", "fe80::1%lo", "$x"] {
            assert_eq!(fill(text, bad), Err(UnitError::Address(bad.to_owned())));
        }
        assert_eq!(fill("", "::1"), Err(UnitError::Lacks(UNIT_ADDRESS)));
        assert_eq!(
            fill(&format!("{text} ${{muster:zone}}"), "::1"),
            Err(UnitError::Unknown("muster:zone".to_owned()))
        );
        assert!(matches!(fill(&format!("{text} ${{muster:"), "::1"), Err(UnitError::Unknown(_))));
    }
}
