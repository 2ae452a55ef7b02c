//! Metrics of the process in the OpenMetrics text format.

use std::{sync::atomic::AtomicU64, time::Duration};

use mirrord_sessions_core::auditor::Difference;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::server::ConnectionCounters;

/// The content type of the text that [`Metrics::text`] returns.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Side {
    side: &'static str,
}

/// Counters and gauges of this process. Label values are constants: a requester can't choose any.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    admissions: Family<Outcome, Counter>,
    admission_seconds: Histogram,
    leader: Gauge,
    sessions: Family<Outcome, Counter>,
    pods: Gauge,
    auditor_reconciles: Family<Outcome, Counter>,
    auditor_outcome: Family<Outcome, Gauge>,
    auditor_difference: Family<Side, Gauge<u64, AtomicU64>>,
    connections: ConnectionCounters,
}

/// The outcomes of a reconciliation of the auditor role.
const AUDITOR_OUTCOMES: [&str; 5] = ["created", "upgraded", "current", "preserved", "failed"];

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("mirrord_sessions"),
            admissions: Family::default(),
            // Buckets from 16 µs to half a second.
            admission_seconds: Histogram::new(exponential_buckets(16e-6, 2.0, 16)),
            leader: Gauge::default(),
            sessions: Family::default(),
            pods: Gauge::default(),
            auditor_reconciles: Family::default(),
            auditor_outcome: Family::default(),
            auditor_difference: Family::default(),
            connections: ConnectionCounters::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "admission_requests",
            "Admission reviews by outcome",
            metrics.admissions.clone(),
        );
        registry.register(
            "admission_duration_seconds",
            "Time from the first byte of a review to its response",
            metrics.admission_seconds.clone(),
        );
        registry.register("leader", "Whether this replica is the leader", metrics.leader.clone());
        registry.register(
            "sessions",
            "Runs of plain mirrord by outcome: recorded, closed, stopped, or not recorded",
            metrics.sessions.clone(),
        );
        registry.register(
            "pods",
            "Pods whose containers the leader has cached",
            metrics.pods.clone(),
        );
        registry.register(
            "auditor_reconciles",
            "Reconciliations of the auditor role by outcome",
            metrics.auditor_reconciles.clone(),
        );
        registry.register(
            "auditor_role",
            "1 for the outcome of the last reconciliation of the auditor role by this replica",
            metrics.auditor_outcome.clone(),
        );
        registry.register(
            "auditor_role_difference_lines",
            "Permissions that the auditor role has beyond its latest preset, or lacks; absent if unknown",
            metrics.auditor_difference.clone(),
        );
        let ConnectionCounters { open, evicted, refused } = metrics.connections.clone();
        registry.register("connections", "Open HTTPS connections", open);
        registry.register(
            "connections_evicted",
            "HTTPS connections that were closed in favour of new ones",
            evicted,
        );
        registry.register(
            "connections_refused",
            "New HTTPS connections that were closed at once",
            refused,
        );
        metrics
    }
}

impl Metrics {
    /// Returns the counters of HTTPS connections.
    pub(crate) fn connections(&self) -> ConnectionCounters {
        self.connections.clone()
    }

    /// Counts a review by its outcome, and records its duration.
    pub(crate) fn admission(&self, outcome: &'static str, took: Duration) {
        self.admissions.get_or_create(&Outcome { outcome }).inc();
        self.admission_seconds.observe(took.as_secs_f64());
    }

    /// Records whether this replica is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        if !leads {
            // The next leader reports these from now on.
            self.pods.set(0);
            self.auditor_outcome.clear();
            self.auditor_difference.clear();
        }
    }

    /// Counts a run by its outcome: recorded, adopted, closed, stopped, expired, or refused.
    pub(crate) fn session(&self, outcome: &'static str) {
        self.sessions.get_or_create(&Outcome { outcome }).inc();
    }

    /// Records the number of cached Pods.
    pub(crate) fn pods(&self, count: usize) {
        self.pods.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a reconciliation of the auditor role by its outcome.
    ///
    /// `outcome` is one of [`AUDITOR_OUTCOMES`]. The difference is absent if it is unknown.
    pub(crate) fn auditor(&self, outcome: &'static str, difference: Option<&Difference>) {
        self.auditor_reconciles.get_or_create(&Outcome { outcome }).inc();
        for label in AUDITOR_OUTCOMES {
            let gauge = self.auditor_outcome.get_or_create(&Outcome { outcome: label });
            gauge.set((label == outcome).into());
        }
        match difference {
            Some(Difference { extra, missing }) => {
                for (side, grants) in [("extra", extra), ("missing", missing)] {
                    let gauge = self.auditor_difference.get_or_create(&Side { side });
                    gauge.set(grants.lines().len() as u64);
                }
            }
            None => self.auditor_difference.clear(),
        }
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_core::auditor::{Grants, History};

    use super::*;

    #[test]
    fn encodes_metrics_for_prometheus() {
        let metrics = Metrics::default();
        metrics.admission("allowed", Duration::from_micros(20));
        metrics.leads(true);
        let latest = History::shipped().rules(u32::MAX);
        let preset = Grants::from_rules(&latest).unwrap();
        let difference = Difference::between(&Grants::default(), &preset);
        metrics.auditor("preserved", Some(&difference));
        let text = metrics.text().unwrap();
        for line in [
            "mirrord_sessions_admission_requests_total{outcome=\"allowed\"} 1",
            "mirrord_sessions_admission_duration_seconds_count 1",
            "mirrord_sessions_leader 1",
            "mirrord_sessions_auditor_reconciles_total{outcome=\"preserved\"} 1",
            "mirrord_sessions_auditor_role{outcome=\"preserved\"} 1",
            "mirrord_sessions_auditor_role{outcome=\"created\"} 0",
            "mirrord_sessions_auditor_role_difference_lines{side=\"extra\"} 0",
            "mirrord_sessions_auditor_role_difference_lines{side=\"missing\"} 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // An unknown difference removes the last known one.
        metrics.auditor("failed", None);
        metrics.auditor("failed", None);
        let text = metrics.text().unwrap();
        assert!(!text.contains("difference_lines{"), "{text}");
        assert!(text.contains("reconciles_total{outcome=\"failed\"} 2"), "{text}");
        metrics.leads(false);
        let text = metrics.text().unwrap();
        assert!(!text.contains("auditor_role{"), "{text}");
    }
}
