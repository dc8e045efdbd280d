//! Names of applications and units.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The application name is not an RFC 1123 DNS label that starts with a letter, or is too long.
    #[error(
        "name {0:?} is not usable: write lower-case letters, digits and '-', starting with a letter, ending with a letter or digit, at most {max} characters",
        max = AppName::MAX_LEN
    )]
    Application(String),
    /// The unit name is not `application/number`.
    #[error("unit name {0:?} is not usable: write APPLICATION/NUMBER, for example mimir-read/0")]
    Unit(String),
}

/// The name of an application: a DNS label (RFC 1123) that starts with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

impl AppName {
    /// The longest name. 63 is the limit of a DNS label; 10 are left for what Muster appends
    /// (`-cluster`, `-0` … in object and pod names).
    pub const MAX_LEN: usize = 53;

    /// Checks `name` and wraps it.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let bytes = name.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let valid = name.len() <= Self::MAX_LEN
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(|b| *b != b'-')
            && bytes.iter().all(inner);
        if valid { Ok(Self(name.into())) } else { Err(NameError::Application(name)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The unit of this application with that number.
    #[must_use]
    pub fn unit(&self, number: u32) -> UnitName {
        UnitName { application: self.clone(), number }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AppName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        Self::new(s)
    }
}

impl TryFrom<String> for AppName {
    type Error = NameError;
    fn try_from(s: String) -> Result<Self, NameError> {
        Self::new(s)
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> Self {
        name.as_str().to_owned()
    }
}

/// The name of a unit: `application/number`. Orders naturally: `app/2` before `app/10`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName {
    application: AppName,
    number: u32,
}

impl UnitName {
    /// The application that the unit belongs to.
    #[must_use]
    pub fn application(&self) -> &AppName {
        &self.application
    }

    /// The unit's number, counted from 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name as a DNS label, as pods are called: `mimir-read-0`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}-{}", self.application, self.number)
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.application, self.number))
    }
}

impl FromStr for UnitName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        let unusable = || NameError::Unit(s.to_owned());
        let (application, number) = s.split_once('/').ok_or_else(unusable)?;
        let canonical = number == "0" || !number.starts_with(['0', '+']);
        match number.parse() {
            Ok(number) if canonical => Ok(Self { application: AppName::new(application)?, number }),
            _ => Err(unusable()),
        }
    }
}

impl TryFrom<String> for UnitName {
    type Error = NameError;
    fn try_from(s: String) -> Result<Self, NameError> {
        s.parse()
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_names_are_dns_labels() {
        for good in ["a", "mimir", "mimir-read", "x0", &"a".repeat(AppName::MAX_LEN)] {
            assert!(AppName::new(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "-a",
            "a-",
            "A",
            "0a",
            "a_b",
            "a.b",
            "a/b",
            "é",
            "a\n",
            "a b",
            "..",
            &"a".repeat(AppName::MAX_LEN + 1),
        ];
        for bad in bad {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unit_names_parse_print_and_order_naturally() {
        let two: UnitName = "mimir-read/2".parse().unwrap();
        let ten: UnitName = "mimir-read/10".parse().unwrap();
        assert!(two < ten);
        assert_eq!(two.to_string(), "mimir-read/2");
        assert_eq!(ten.label(), "mimir-read-10");
        for bad in ["", "a", "a/", "/0", "a/b", "a/-1", "a/01", "a/+1", "a/99999999999", "A/0", "a/0/0"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }
}
