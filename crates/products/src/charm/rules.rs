//! What an option's value must fulfil beyond its type. charmcraft.yaml has no place for it.

use muster_model::Product;

/// What a value must fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing.
    Any,
    /// A number in this range, ends included.
    Range(i64, i64),
    /// A replication factor, or 0 for "chosen once". Odd, because a quorum of an even number tolerates no more than
    /// one of the odd number below it; at most 9, beyond which each write only gets dearer.
    ReplicationFactor,
    /// How long something is kept, in Prometheus's notation.
    Retention,
}

/// Far more than one deployment can hold, far less than where sums overflow.
const PLENTY: i64 = 1_000_000_000_000;

/// The rule of a coordinator's option.
pub(super) fn coordinator(product: Product, option: &str) -> Rule {
    match (product, option) {
        (Product::Mimir, "retention-period") => Rule::Retention,
        (_, "replication-factor") => Rule::ReplicationFactor,
        // 0 would refuse every sample.
        (Product::Mimir, "ingestion-rate" | "ingestion-burst-size") => Rule::Range(1, PLENTY),
        (Product::Mimir, "max-global-series-per-user" | "max-global-exemplars-per-user") => {
            Rule::Range(0, PLENTY)
        }
        // Hours: up to 100 years.
        (Product::Tempo, "retention-period") => Rule::Range(1, 876_000),
        // Days: up to 100 years.
        (Product::Loki, "retention-period") => Rule::Range(0, 36_500),
        (Product::Loki, "ingestion-rate-mb" | "ingestion-burst-size-mb") => Rule::Range(1, 1_000_000),
        (Product::Loki, "max-global-streams-per-user") => Rule::Range(0, PLENTY),
        _ => Rule::Any,
    }
}

impl Rule {
    /// What is wrong with a number.
    pub(super) fn refuses_number(self, number: i64) -> Option<String> {
        match self {
            Self::Range(low, high) if !(low..=high).contains(&number) => {
                Some(format!("must be from {low} to {high}, not {number}"))
            }
            Self::ReplicationFactor if !matches!(number, 0 | 1 | 3 | 5 | 7 | 9) => {
                Some(format!("must be 0, 1, 3, 5, 7 or 9, not {number}"))
            }
            _ => None,
        }
    }

    /// What is wrong with a text.
    pub(super) fn refuses_text(self, text: &str) -> Option<String> {
        if self != Self::Retention {
            return None;
        }
        match milliseconds(text) {
            None => Some(format!(
                "must be a duration like 12h, 30d, 2w or 1y6w (y, w, d, h, m, s and ms, the largest first), or 0, not {:?}",
                text.chars().take(40).collect::<String>()
            )),
            Some(kept) if kept > 0 && kept < MIN_RETENTION_MS => {
                Some(format!("must be 0 (for ever) or at least 2h, not {text}: m stands for minutes"))
            }
            Some(_) => None,
        }
    }
}

/// The range of an ingester's block. What is kept shorter is removed as soon as it is uploaded.
const MIN_RETENTION_MS: u64 = 2 * 60 * 60 * 1000;

/// Prometheus's units in the order in which a duration has them, in milliseconds. A year has 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration: Go counts nanoseconds in 63 bits, about 292 years.
const MAX_DURATION_MS: u64 = (i64::MAX / 1_000_000).unsigned_abs();

/// Reads a duration as Prometheus's `model.ParseDuration` does: `0`, or numbers with units, each unit at most once
/// and the largest first.
fn milliseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, length) = units.by_ref().find(|(unit, _)| *unit == &rest[..letters])?;
        rest = &rest[letters..];
        sum = number.checked_mul(*length)?.checked_add(sum).filter(|sum| *sum <= MAX_DURATION_MS)?;
    }
    (!text.is_empty()).then_some(sum)
}

/// The name that `name` was likely meant to be: at most two letters away.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    // Nothing near is that long; the distance takes time with the product of the lengths.
    if name.len() > 100 {
        return None;
    }
    let (distance, near) = names.map(|known| (distance(name, known), known)).min()?;
    (distance <= 2).then_some(near)
}

/// How many letters must be added, removed or changed to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, in_b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(in_a != *in_b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charm::{self, OptionKind};

    /// What the real server takes and refuses was found by running it.
    #[test]
    fn durations_are_those_of_the_server() {
        for good in [
            "0",
            "12h",
            "30d",
            "2w",
            "1y",
            "1y6w",
            "30d12h",
            "12h30m",
            "1d12h",
            "100y",
            "292y",
            "1y2w3d4h5m6s7ms",
        ] {
            assert_eq!(Rule::Retention.refuses_text(good), None, "{good}");
        }
        let bad = [
            "",
            " ",
            "5",
            "-1d",
            "1.5h",
            "30dd",
            "abc",
            "293y",
            "1000y",
            "9999999999999d",
            "1h1d",
            "1d1d",
            "1M",
            "1us",
            "1d ",
            " 1d",
            "d",
            "1d5",
            "é",
            "1é",
            "99999999999999999999d",
            "+1d",
            "0x1d",
            "1ms1s",
        ];
        for bad in bad {
            assert!(Rule::Retention.refuses_text(bad).is_some(), "{bad}");
        }
        // The server takes these too, and removes every block at once.
        for short in ["1s", "500ms", "15m", "119m"] {
            assert!(
                Rule::Retention.refuses_text(short).is_some_and(|problem| problem.contains("at least 2h")),
                "{short}"
            );
        }
        assert_eq!(milliseconds("1y6w"), Some((365 + 42) * 24 * 60 * 60 * 1000));
        assert_eq!(milliseconds("0d"), Some(0));
    }

    #[test]
    fn every_number_and_text_of_a_coordinator_has_a_rule() {
        for product in Product::ALL {
            for (name, option) in &charm::coordinator(product).options {
                assert_eq!(
                    coordinator(product, name) == Rule::Any,
                    option.kind == OptionKind::Boolean,
                    "{product} {name}"
                );
            }
        }
    }

    #[test]
    fn near_names_are_found() {
        let names = ["retention-period".to_owned(), "role-read".to_owned()];
        assert_eq!(nearest("retention_period", names.iter()), Some("retention-period"));
        assert_eq!(nearest("role-raed", names.iter()), Some("role-read"));
        assert_eq!(nearest("retention", names.iter()), None);
        assert_eq!(nearest(&"x".repeat(101), names.iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9]{0,22}(y|w|d|h|m|s|ms|.)){0,4}") {
            let _ = Rule::Retention.refuses_text(&text);
        }
    }
}
