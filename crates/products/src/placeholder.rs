//! Placeholders in the shared config, which each unit fills for itself.
//!
//! A placeholder is written `${muster:NAME}` inside a text. Only this crate writes them; any other text that looks
//! like one, an override for example, goes through [`literal`] first and comes out as it was.

use std::fmt;

use muster_model::yaml::{self, YamlError};
use serde_json::{Map, Value};

const OPEN: &str = "${muster:";
/// Stands for a dollar sign, so that a literal `${muster:` can be written.
const DOLLAR: &str = "dollar";

macro_rules! placeholders {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a unit fills in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Placeholder { $($(#[$doc])* $variant,)* }

        impl Placeholder {
            /// Every placeholder.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name between `${muster:` and `}`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

placeholders! {
    /// The unit's address without a port.
    UnitAddress = "unit-address",
    /// The unit's name in rings.
    UnitId = "unit-id",
    /// The unit's data directory.
    UnitData = "unit-data",
    /// A list: `host:port` of units to gossip with.
    GossipSeeds = "gossip-seeds",
    /// How the unit finds query-schedulers.
    SchedulerDiscovery = "scheduler-discovery",
    /// The name that rings of query-schedulers have in gossip.
    SchedulerPrefix = "scheduler-prefix",
    /// Where a querier finds a query-frontend, `host:port`.
    FrontendAddress = "frontend-address",
    /// Where the leading compactor is, `host:port`.
    CompactorAddress = "compactor-address",
    /// The same for units that compact; nothing for others, which ask the load balancer.
    CompactorOfCompactors = "compactor-of-compactors",
    /// Whether the unit's compactor leads, works for another, or is alone.
    CompactorMode = "compactor-mode",
    /// The S3 access key.
    AccessKey = "s3-access-key",
    /// The S3 secret key.
    SecretKey = "s3-secret-key",
    /// The file with the authorities of the S3 endpoint.
    CaFile = "s3-ca-file",
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{}}}", self.name())
    }
}

/// What a placeholder stands for on one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// A text, which may be a part of a longer one.
    Text(String),
    /// A list, which takes the place of the whole value.
    List(Vec<String>),
}

/// Why a document cannot be filled. Never holds what a placeholder stands for.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The document is not YAML, or the result cannot be written.
    #[error("the shared config is not usable: {0}")]
    Yaml(#[from] YamlError),
    /// A placeholder that this build does not have.
    #[error(
        "the shared config has the unknown placeholder {0:?}: upgrade the agent to the coordinator's version"
    )]
    Unknown(String),
    /// A placeholder without its closing brace.
    #[error("the shared config has a placeholder without a closing brace")]
    Unclosed,
    /// The unit has no value for it.
    #[error("the shared config needs {0}, which this unit was not given")]
    Absent(Placeholder),
    /// A list inside a longer text.
    #[error("the shared config has {0}, which is a list, inside a longer text")]
    ListInText(Placeholder),
}

/// A text that [`fill`] turns back into `text`, whatever `text` is.
#[must_use]
pub fn literal(text: &str) -> String {
    text.replace(OPEN, &format!("{OPEN}{DOLLAR}}}{}", &OPEN[1..]))
}

/// Fills the placeholders of a YAML document. What is filled in is not looked at again. Keys have no placeholders.
pub fn fill(document: &str, filling: impl Fn(Placeholder) -> Option<Filling>) -> Result<String, FillError> {
    let document: Value = yaml::from_str(document)?;
    Ok(yaml::to_string(&fill_value(document, &filling)?)?)
}

fn fill_value(value: Value, filling: &impl Fn(Placeholder) -> Option<Filling>) -> Result<Value, FillError> {
    Ok(match value {
        Value::String(text) => fill_text(&text, filling)?,
        Value::Array(items) => {
            items.into_iter().map(|item| fill_value(item, filling)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| Ok((key, fill_value(value, filling)?)))
            .collect::<Result<Map<_, _>, FillError>>()?
            .into(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar,
    })
}

fn fill_text(text: &str, filling: &impl Fn(Placeholder) -> Option<Filling>) -> Result<Value, FillError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        filled.push_str(before);
        let (name, after) = after.split_once('}').ok_or(FillError::Unclosed)?;
        rest = after;
        if name == DOLLAR {
            filled.push('$');
            continue;
        }
        let placeholder = Placeholder::ALL.iter().copied().find(|p| p.name() == name);
        let placeholder = placeholder.ok_or_else(|| FillError::Unknown(name.to_owned()))?;
        match filling(placeholder).ok_or(FillError::Absent(placeholder))? {
            Filling::Text(value) => filled.push_str(&value),
            Filling::List(items) if text == placeholder.to_string() => return Ok(items.into()),
            Filling::List(_) => return Err(FillError::ListInText(placeholder)),
        }
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filled(value: &Value) -> Result<Value, FillError> {
        let filling = |placeholder| match placeholder {
            Placeholder::UnitAddress => Some(Filling::Text("127.0.0.9".to_owned())),
            Placeholder::SecretKey => Some(Filling::Text("${muster:unit-address}".to_owned())),
            Placeholder::GossipSeeds => Some(Filling::List(vec!["a:1".to_owned(), "${muster:x}".to_owned()])),
            _ => None,
        };
        Ok(yaml::from_str(&fill(&yaml::to_string(value)?, filling)?)?)
    }

    #[test]
    fn texts_and_lists_are_filled_once() {
        let document = json!({
            "${muster:unit-address}": "${muster:unit-address}:9095",
            "secret": "a${muster:s3-secret-key}b",
            "seeds": "${muster:gossip-seeds}",
            "list": ["${muster:unit-address}", 1, null, true],
        });
        let expected = json!({
            "${muster:unit-address}": "127.0.0.9:9095",
            "secret": "a${muster:unit-address}b",
            "seeds": ["a:1", "${muster:x}"],
            "list": ["127.0.0.9", 1, null, true],
        });
        assert_eq!(filled(&document).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_filled_is_an_error() {
        assert!(
            matches!(filled(&json!("${muster:nothing}")), Err(FillError::Unknown(name)) if name == "nothing")
        );
        assert!(matches!(filled(&json!(["x ${muster:"])), Err(FillError::Unclosed)));
        assert!(matches!(filled(&json!("${muster:unit-id}")), Err(FillError::Absent(Placeholder::UnitId))));
        assert!(matches!(filled(&json!("x${muster:gossip-seeds}")), Err(FillError::ListInText(_))));
        assert!(matches!(fill("a: 1\na: 2", |_| None), Err(FillError::Yaml(_))));
    }

    proptest! {
        #[test]
        fn literals_come_out_as_they_were(text in r#"(\$\{muster:|unit-id|dollar|\}|\$|"|'|#|\n|: |- |\\|.){0,12}"#) {
            prop_assert_eq!(filled(&json!({ "k": literal(&text) })).unwrap(), json!({ "k": text }));
        }
    }
}
