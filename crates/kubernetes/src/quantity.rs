//! Quantities as Kubernetes writes them, of which many mean the same.

/// How many billionths are one.
const BILLION: u128 = 1_000_000_000;

/// Whether two quantities are the same number. Texts that are none are compared as they are.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    match (billionths(one), billionths(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// A quantity that is not negative, exactly, in billionths. `None`: it is no quantity, or finer or larger than any disk.
fn billionths(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let number = parse(whole)?.checked_mul(BILLION)?.checked_add(parse(&format!("{fraction:0<9}"))?)?;
    let (factor, divisor): (u128, u128) = match suffix {
        "n" => (1, BILLION),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (BILLION, 1),
        "T" => (1_000 * BILLION, 1),
        "P" => (1_000_000 * BILLION, 1),
        "E" => (BILLION * BILLION, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => (10_u128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?, 1),
    };
    let product = number.checked_mul(factor)?;
    (product % divisor == 0).then_some(product / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1", "1000m"),
            ("0.1", "100m"),
            ("10G", "10e9"),
            ("10G", "10000000000"),
            ("1E", "1000P"),
            (".5", "500m"),
            ("16Ei", "16384Pi"),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
        for (one, other) in [("1Gi", "1G"), ("1Gi", "1025Mi"), ("1", "1001m"), ("1Gi", "x"), ("", "0")] {
            assert!(!is_same(one, other), "{one} {other}");
        }
        assert!(is_same("x", "x"));
    }
}
