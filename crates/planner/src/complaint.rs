//! What of a process's last log lines is worth telling in a status.

/// How many lines are told.
const LINES: usize = 3;
/// How much of each, in characters.
const LINE_LENGTH: usize = 400;
/// What stands in a line that complains, in the servers' own format and in Go's.
const COMPLAINTS: [&str; 4] = ["level=error", "level=fatal", "level=crit", "panic:"];
/// What stands in a line that complains of what is as it should be: those of Loki's compactors that do not lead ask the one that does for
/// work, which it does by itself.
const EXPECTED: &str = "unknown service grpc.JobQueue";

/// The first and the last line that complain, or else the last lines, in one line. Nothing where there are none.
///
/// The first complaint is the cause more often than the last: a process that ends complains of all that it stops.
pub(crate) fn of(lines: &[String]) -> Option<String> {
    let said: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let complains =
        |line: &str| COMPLAINTS.iter().any(|sign| line.contains(sign)) && !line.contains(EXPECTED);
    let mut complaints = said.iter().filter(|line| complains(line));
    let told: Vec<&str> = match (complaints.next(), complaints.next_back()) {
        (Some(first), last) => [Some(first), last].into_iter().flatten().copied().collect(),
        _ => said[said.len().saturating_sub(LINES)..].to_vec(),
    };
    let cut = |line: &str| line.chars().take(LINE_LENGTH).collect::<String>();
    (!told.is_empty()).then(|| told.into_iter().map(cut).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_before_the_last_lines() {
        let of = |lines: &[&str]| of(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["", "a", "b", " ", "c", "d"]).as_deref(), Some("b | c | d"));
        let ends = ["x", "level=error cause", "level=error so", "level=info y", "level=error end", "z"];
        assert_eq!(of(&ends).as_deref(), Some("level=error cause | level=error end"));
        assert_eq!(
            of(&["level=error unknown service grpc.JobQueue", "x"]).as_deref().map(|s| s.contains("| x")),
            Some(true)
        );
        assert_eq!(of(&["panic: oh", "goroutine 1"]).as_deref(), Some("panic: oh"));
        assert_eq!(of(&[&"ä".repeat(1000)]).unwrap_or_default().chars().count(), LINE_LENGTH);
    }
}
