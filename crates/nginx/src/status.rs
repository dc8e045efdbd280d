//! What nginx tells its agent.

use muster_model::Revision;

/// The port of the unit's own status pages: plain HTTP also when TLS is on, answered only to this machine's loopback
/// addresses and to the unit itself.
pub const STATUS_PORT: u16 = 3086;

/// Answers [`ready_body`]: which generation serves. On both ports.
pub const READY_PATH: &str = "/ready";

/// Connection counts, see [`waiting_connections`]. On both ports, answered only to this machine.
pub const CONNECTIONS_PATH: &str = "/-/connections";

/// How long a reload waits for idle connections to be gone, in milliseconds. Busy clients need a fraction of it.
pub const DRAIN_DEADLINE_MS: u64 = 1000;

/// How long no answer of the old generation must be seen before a reload is complete, in milliseconds, where nobody can see its
/// workers. nginx tells them to stop accepting 100 ms after it has started new ones.
pub const SETTLE_MS: u64 = 200;

/// The body with which the generation of `revision` answers [`READY_PATH`].
#[must_use]
pub fn ready_body(revision: &Revision) -> String {
    ready_text(revision.as_str())
}

pub(crate) fn ready_text(revision: &str) -> String {
    format!("ready {revision}\n")
}

/// The number of connections that wait for a request, from the body of [`CONNECTIONS_PATH`] (nginx' `stub_status`).
/// `None`: the text is something else.
#[must_use]
pub fn waiting_connections(body: &str) -> Option<u64> {
    let mut words = body.split_ascii_whitespace();
    words.find(|word| *word == "Waiting:")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_read_from_stub_status() {
        let body = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
                    Reading: 6 Writing: 179 Waiting: 106 \n";
        assert_eq!(waiting_connections(body), Some(106));
        for other in ["", "Waiting:", "Waiting: many", "<html>403</html>"] {
            assert_eq!(waiting_connections(other), None, "{other:?}");
        }
    }
}
