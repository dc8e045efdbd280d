//! Products and their version lines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a coordinator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Grafana Tempo: traces.
    Tempo,
    /// Grafana Mimir: metrics.
    Mimir,
    /// Grafana Loki: logs.
    Loki,
}

impl Product {
    /// All products, in the order of the design's tables.
    pub const ALL: [Self; 3] = [Self::Tempo, Self::Mimir, Self::Loki];

    /// The product's name in lower case, which is also its binary's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tempo => "tempo",
            Self::Mimir => "mimir",
            Self::Loki => "loki",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("product {0:?} is not known: use tempo, mimir or loki")]
pub struct UnknownProduct(pub String);

impl FromStr for Product {
    type Err = UnknownProduct;
    fn from_str(s: &str) -> Result<Self, UnknownProduct> {
        Self::ALL.into_iter().find(|p| p.as_str() == s).ok_or_else(|| UnknownProduct(s.to_owned()))
    }
}

/// A product's version line: major and minor. Patch releases share a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

/// The text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0:?} is not usable: write MAJOR.MINOR in quotes, for example \"2.17\"")]
pub struct VersionError(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(s: &str) -> Result<Self, VersionError> {
        let unusable = || VersionError(s.to_owned());
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u16>().map_err(|_| unusable()) } else { Err(unusable()) }
        };
        let mut parts = s.split('.');
        let (major, minor) = (parts.next(), parts.next());
        // A patch number is accepted and dropped: it does not change the line.
        let patch = parts.next();
        if parts.next().is_some() {
            return Err(unusable());
        }
        if let Some(patch) = patch {
            number(patch)?;
        }
        match (major, minor) {
            (Some(major), Some(minor)) => Ok(Self { major: number(major)?, minor: number(minor)? }),
            _ => Err(unusable()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(s: String) -> Result<Self, VersionError> {
        s.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_drop_the_patch() {
        let version = |s: &str| s.parse::<Version>();
        assert_eq!(version("2.17").unwrap(), Version { major: 2, minor: 17 });
        assert_eq!(version("2.17.3").unwrap(), version("2.17").unwrap());
        assert!(version("3.0").unwrap() > version("2.17").unwrap());
        for bad in ["", "2", "2.", ".1", "2.x", "2.17.0.1", "v2.17", "2.-1", "99999.1", "2.17.x"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
