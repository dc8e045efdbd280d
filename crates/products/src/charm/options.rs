//! Values of a charm's options: checked, with defaults for what is not given.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::{self, Rule};
use super::{Charm, CharmKind, CharmOption, OptionKind};

/// One thing that is wrong with one option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option {option:?} {message}")]
pub struct OptionProblem {
    /// The option's name.
    pub option: String,
    /// What is wrong and what fixes it; follows the name in a sentence.
    pub message: String,
    /// Whether the charm has no such option.
    pub unknown: bool,
}

/// A charm's options: what was given and is good, else the defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options(BTreeMap<String, Value>);

impl Options {
    /// The value, or the charm's default. `None`: neither is there.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<&Value> {
        self.0.get(option)
    }

    /// The value of a text option. Empty where neither a value nor a default is there.
    #[must_use]
    pub fn text(&self, option: &str) -> &str {
        self.get(option).and_then(Value::as_str).unwrap_or_default()
    }

    /// The value of a number option. 0 where neither a value nor a default is there.
    #[must_use]
    pub fn integer(&self, option: &str) -> i64 {
        self.get(option).and_then(Value::as_i64).unwrap_or_default()
    }

    /// The value of a boolean option. False where neither a value nor a default is there.
    #[must_use]
    pub fn boolean(&self, option: &str) -> bool {
        self.get(option).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Every option that has a value, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Charm {
    /// Checks given values and fills in defaults. All problems are told, and the options they are about have their defaults.
    #[must_use]
    pub fn validate(&self, config: &BTreeMap<String, Value>) -> (Options, Vec<OptionProblem>) {
        let mut options: BTreeMap<_, _> = self.defaults();
        let mut problems = Vec::new();
        for (name, value) in config {
            match self.check(name, value) {
                Ok(()) => drop(options.insert(name.clone(), value.clone())),
                Err(problem) => problems.push(problem),
            }
        }
        (Options(options), problems)
    }

    /// Reads the value of one option from text, as it is given on a command line, and checks it.
    pub fn parse(&self, option: &str, text: &str) -> Result<Value, OptionProblem> {
        let value = match self.option(option)?.kind {
            OptionKind::String => Value::from(text),
            OptionKind::Int => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
            OptionKind::Boolean => match text {
                "true" | "True" => true.into(),
                "false" | "False" => false.into(),
                other => other.into(),
            },
        };
        self.check(option, &value)?;
        Ok(value)
    }

    fn defaults(&self) -> BTreeMap<String, Value> {
        let with_default =
            |(name, option): (&String, &CharmOption)| Some((name.clone(), option.default.clone()?));
        self.options.iter().filter_map(with_default).collect()
    }

    fn option(&self, name: &str) -> Result<&CharmOption, OptionProblem> {
        self.options.get(name).ok_or_else(|| OptionProblem {
            option: name.to_owned(),
            message: match rules::nearest(name, self.options.keys()) {
                Some(near) => format!("is not known to {}: did you mean {near}?", self.name),
                None => format!("is not known to {}: it has {}", self.name, self.names()),
            },
            unknown: true,
        })
    }

    fn names(&self) -> String {
        self.options.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn check(&self, name: &str, value: &Value) -> Result<(), OptionProblem> {
        let kind = self.option(name)?.kind;
        let rule = self.rule(name);
        // Never shows a value that has the wrong type or a secret: only what a rule quotes.
        let problem = match (kind, value) {
            (OptionKind::String, Value::String(text)) => rule.refuses_text(text),
            (OptionKind::Int, Value::Number(number)) => match number.as_i64() {
                Some(number) => rule.refuses_number(number),
                None => Some("must be a whole number".to_owned()),
            },
            (OptionKind::Boolean, Value::Bool(_)) => None,
            (OptionKind::String, _) => Some("must be a text: write it in quotes".to_owned()),
            (OptionKind::Int, _) => Some("must be a whole number, without quotes".to_owned()),
            (OptionKind::Boolean, _) => Some("must be true or false, without quotes".to_owned()),
        };
        match problem {
            Some(message) => Err(OptionProblem { option: name.to_owned(), message, unknown: false }),
            None => Ok(()),
        }
    }

    fn rule(&self, name: &str) -> Rule {
        match self.kind {
            CharmKind::Coordinator(product) => rules::coordinator(product, name),
            CharmKind::Worker(_) | CharmKind::S3Integrator => Rule::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_model::Product;
    use serde_json::json;

    use super::*;
    use crate::charm::{charms, coordinator, s3_integrator, worker};

    fn config(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn defaults_are_good_values() {
        for charm in charms() {
            let (options, problems) = charm.validate(&charm.defaults());
            assert_eq!(problems, []);
            assert_eq!(options, charm.validate(&BTreeMap::new()).0);
        }
        let (options, _) = coordinator(Product::Mimir).validate(&BTreeMap::new());
        assert_eq!(options.text("retention-period"), "0");
        assert_eq!(options.integer("ingestion-rate"), 100_000);
        assert!(worker(Product::Mimir).validate(&BTreeMap::new()).0.boolean("role-all"));
        assert_eq!(s3_integrator().validate(&BTreeMap::new()).0.get("bucket"), None);
    }

    #[test]
    fn good_values_win_over_defaults() {
        let given = [
            ("retention-period", json!("30d")),
            ("replication-factor", json!(3)),
            ("ingestion-rate", json!(5)),
        ];
        let (options, problems) = coordinator(Product::Mimir).validate(&config(&given));
        assert_eq!(problems, []);
        assert_eq!(options.text("retention-period"), "30d");
        assert_eq!(options.integer("replication-factor"), 3);
        assert_eq!(options.integer("ingestion-burst-size"), 2_000_000);
        assert_eq!(options.iter().count(), 7);
    }

    #[test]
    fn every_problem_is_told_and_has_the_default() {
        let given = [
            ("retention_period", json!("30d")),
            ("colour", json!("green")),
            ("retention-period", json!(30)),
            ("replication-factor", json!(2)),
            ("ingestion-rate", json!("many")),
            ("ingestion-burst-size", json!(1.5)),
            ("max-global-series-per-user", json!(-1)),
            ("max-global-exemplars-per-user", json!(null)),
        ];
        let (options, problems) = coordinator(Product::Mimir).validate(&config(&given));
        assert_eq!(options, coordinator(Product::Mimir).validate(&BTreeMap::new()).0);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "option \"colour\" is not known to mimir-coordinator-k8s: it has ingestion-burst-size, ingestion-rate, max-global-exemplars-per-user, max-global-series-per-user, multi-tenancy, replication-factor, retention-period",
                "option \"ingestion-burst-size\" must be a whole number",
                "option \"ingestion-rate\" must be a whole number, without quotes",
                "option \"max-global-exemplars-per-user\" must be a whole number, without quotes",
                "option \"max-global-series-per-user\" must be from 0 to 1000000000000, not -1",
                "option \"replication-factor\" must be 0, 1, 3, 5, 7 or 9, not 2",
                "option \"retention-period\" must be a text: write it in quotes",
                "option \"retention_period\" is not known to mimir-coordinator-k8s: did you mean retention-period?",
            ]
        );
        assert_eq!(problems.iter().filter(|problem| problem.unknown).count(), 2);
    }

    #[test]
    fn texts_are_read_by_the_type_of_the_option() {
        let (mimir, workers) = (coordinator(Product::Mimir), worker(Product::Mimir));
        assert_eq!(mimir.parse("retention-period", "1y").unwrap(), json!("1y"));
        assert_eq!(mimir.parse("ingestion-rate", "7").unwrap(), json!(7));
        assert_eq!(workers.parse("role-read", "true").unwrap(), json!(true));
        assert_eq!(workers.parse("role-read", "False").unwrap(), json!(false));
        assert_eq!(s3_integrator().parse("secret-key", "1").unwrap(), json!("1"));
        for (charm, option, text) in [
            (mimir, "retention-period", "1"),
            (mimir, "ingestion-rate", "1e3"),
            (mimir, "ingestion-rate", "99999999999999999999"),
            (mimir, "ingestion-rate", ""),
            (workers, "role-read", "yes"),
            (workers, "role-reed", "true"),
        ] {
            assert!(charm.parse(option, text).is_err(), "{option}={text}");
        }
        let near = workers.parse("role-reed", "true").unwrap_err().to_string();
        assert!(near.ends_with("did you mean role-read?"), "{near}");
    }

    #[test]
    fn no_problem_shows_a_secret() {
        let given = [("secret-key", json!(["hunter2"])), ("access-key", json!({ "k": "hunter2" }))];
        let (_, problems) = s3_integrator().validate(&config(&given));
        assert_eq!(problems.len(), 2);
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
