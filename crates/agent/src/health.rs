//! What an agent's pages say: that it lives, whether its workload is ready, and its metrics.

use std::fmt::Write;

use muster_relation::{Report, Service};
use muster_telemetry::admin::Health;
use tokio::sync::watch;

/// The agent's health, as its last report has it.
pub(crate) struct AgentHealth {
    pub(crate) reports: watch::Receiver<Report>,
    /// Why the pages cannot be served.
    pub(crate) problem: watch::Sender<Option<String>>,
}

impl Health for AgentHealth {
    fn unready(&self) -> Option<String> {
        let report = self.reports.borrow();
        if report.ending {
            return Some("the workload is about to end".to_owned());
        }
        (!report.ready).then(|| "the workload is not ready".to_owned())
    }

    fn metrics(&self) -> String {
        metrics(&self.reports.borrow())
    }

    fn listens(&self, problem: Option<String>) {
        self.problem.send_if_modified(|now| {
            let news = *now != problem;
            *now = problem;
            news
        });
    }
}

const SERVICES: [(Service, &str); 6] = [
    (Service::Inactive, "inactive"),
    (Service::Starting, "starting"),
    (Service::Running, "running"),
    (Service::Stopping, "stopping"),
    (Service::Backoff, "backoff"),
    (Service::Stopped, "stopped"),
];

/// The report in Prometheus' text format.
fn metrics(report: &Report) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP muster_agent_{name} {help}\n# TYPE muster_agent_{name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "muster_agent_{name}{labels} {value}");
        }
    };
    let one = |value: u64| [(String::new(), value)];
    let version = [(format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1)];
    family("build_info", "gauge", "The agent's version.", &version);
    family("assignment_epoch", "gauge", "The newest assignment's epoch.", &one(report.epoch));
    family("workload_ready", "gauge", "Whether the workload is ready.", &one(report.ready.into()));
    let restarts = one(report.restarts.into());
    family("workload_restarts_total", "counter", "Starts after the workload ended by itself.", &restarts);
    let states =
        SERVICES.map(|(state, name)| (format!("{{state=\"{name}\"}}"), u64::from(state == report.service)));
    family("service_state", "gauge", "1 for the state that the service is in.", &states);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_to_end_is_not_ready_any_more() {
        let unready = |ready, ending| {
            let report = Report { ready, ending, ..Report::new("one", "127.0.0.1", "0") };
            let (reports, problem) = (watch::Sender::new(report).subscribe(), watch::Sender::new(None));
            AgentHealth { reports, problem }.unready()
        };
        assert_eq!(unready(true, false), None);
        assert_eq!(unready(true, true).unwrap(), "the workload is about to end");
        assert_eq!(unready(false, false).unwrap(), "the workload is not ready");
    }

    #[test]
    fn metrics_say_what_the_report_says() {
        let report = Report {
            epoch: 7,
            service: Service::Backoff,
            ready: true,
            restarts: 3,
            ..Report::new("one", "127.0.0.1", "0")
        };
        let metrics = metrics(&report);
        for line in [
            "muster_agent_assignment_epoch 7",
            "muster_agent_workload_restarts_total 3",
            "muster_agent_workload_ready 1",
            "muster_agent_service_state{state=\"backoff\"} 1",
            "muster_agent_service_state{state=\"running\"} 0",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} is not in {metrics}");
        }
    }
}
