//! The subresource `sessiontrackers/report`: heartbeats of a session by its owner, with its ports.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mirrord_sessions_crds::{
    Port, SessionReportSpec, SessionReportStatus, SessionState, TRACKER_GROUP, TRACKER_VERSION,
    session::{MAX_FILTER, MAX_PORTS, MAX_PROCESSES, MAX_VERSION},
};
use serde_json::{Value, json};

use super::{
    ApiError,
    subresource::{self, Subresource},
};
use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
    sessions::{
        Tracker,
        tracker::{bounds, session_port},
    },
    text,
};

/// The default report period.
const DEFAULT_PERIOD: Duration = Duration::from_secs(20);
/// The minimum and the maximum report period.
const PERIOD_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// The number of periods without a report after which a session expires. Two reports may be lost.
const EXPIRY_PERIODS: u32 = 3;
/// The maximum size of a report in bytes. A run has a handful of ports and processes.
pub const MAX_SIZE: usize = 16 << 10;
/// The maximum length of a process name in characters.
const MAX_PROCESS_LENGTH: usize = 253;

/// Period in which clients report their sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReportPeriod(Duration);

impl Default for ReportPeriod {
    fn default() -> Self {
        Self(DEFAULT_PERIOD)
    }
}

impl ReportPeriod {
    /// Creates a period; returns `None` unless it is a whole number of seconds within the limits.
    #[must_use]
    pub fn new(period: Duration) -> Option<Self> {
        let fits =
            period.subsec_nanos() == 0 && (PERIOD_LIMITS.0..=PERIOD_LIMITS.1).contains(&period);
        fits.then_some(Self(period))
    }

    /// Returns the time without a report after which a session expires.
    #[must_use]
    pub fn expiry(self) -> Duration {
        self.0 * EXPIRY_PERIODS
    }

    /// Returns the age of `lastSeen` in seconds up to which an unchanged report is not written.
    ///
    /// The age is less than a period, so that a session with timely reports never seems silent.
    fn coalescing_window(self) -> i64 {
        seconds(self.0 * 3 / 4)
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Parses and validates the body of a report.
///
/// # Errors
/// Returns 400 if the body is not a SessionReport, and 422 if a field exceeds the limits of a
/// Session.
pub fn parse(body: &[u8]) -> Result<SessionReportSpec, ApiError> {
    let kind = Subresource::Report.kind();
    let invalid = |field: &str, reason: &str| ApiError::invalid(kind, field, reason);
    let spec: Option<SessionReportSpec> = subresource::parse_spec(body, Subresource::Report)?;
    let spec = spec.ok_or_else(|| invalid("spec", "Required value"))?;
    if spec.ports.len() > MAX_PORTS {
        return Err(invalid("spec.ports", &too_many(MAX_PORTS)));
    }
    for (at, port) in spec.ports.iter().enumerate() {
        if port.port == 0 {
            let field = format!("spec.ports[{at}].port");
            return Err(invalid(&field, "must be between 1 and 65535"));
        }
        if let Some(reason) = port.filter.as_deref().and_then(|text| text_error(text, MAX_FILTER)) {
            return Err(invalid(&format!("spec.ports[{at}].filter"), &reason));
        }
    }
    if spec.processes.len() > MAX_PROCESSES {
        return Err(invalid("spec.processes", &too_many(MAX_PROCESSES)));
    }
    for (at, process) in spec.processes.iter().enumerate() {
        if let Some(reason) = text_error(process, MAX_PROCESS_LENGTH) {
            return Err(invalid(&format!("spec.processes[{at}]"), &reason));
        }
    }
    let version = spec.client_version.as_deref();
    if let Some(reason) = version.and_then(|text| text_error(text, MAX_VERSION)) {
        return Err(invalid("spec.clientVersion", &reason));
    }
    Ok(spec)
}

fn too_many(limit: usize) -> String {
    format!("must have at most {limit} items")
}

fn text_error(text: &str, limit: usize) -> Option<String> {
    if text.chars().nth(limit).is_some() {
        return Some(format!("may not be longer than {limit} characters"));
    }
    let control = text.chars().any(text::is_unsafe);
    control.then(|| "may not contain control or invisible characters".to_owned())
}

/// Outcome of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportDecision {
    /// Merge patch of the status; `None` if the Session is up to date.
    pub status: Option<Value>,
    /// True if the run has ended, so that the Session is to be deleted.
    pub ends: bool,
    /// The `lastSeen` of the Session after the write.
    last_seen: Timestamp,
    period: ReportPeriod,
}

/// Decides on a report.
///
/// The API server has authorized the request by RBAC.
///
/// # Errors
/// Returns 403 if the requester does not own the session, 404 if it is hidden, and 410 if it has
/// ended.
pub fn decide(
    tracker: &Tracker,
    viewer: &Viewer,
    requester: &Requester,
    report: &SessionReportSpec,
    period: ReportPeriod,
    now: Timestamp,
) -> Result<ReportDecision, ApiError> {
    let name = &tracker.key.name;
    if !is_owner(tracker, requester) {
        if !viewer.may(Verb::Read, &tracker.view()) {
            return Err(ApiError::tracker_not_found(name));
        }
        let username = &requester.username;
        let reason = "only the owner of a session may report on it";
        return Err(ApiError::subresource_forbidden(username, Subresource::Report, name, reason));
    }
    let status = &tracker.status;
    if status.state.is_ending() {
        return Err(ApiError::session_ended(tracker));
    }
    if report.ended {
        // Otherwise a report could stop a run in spite of policies for `delete`.
        let forbidden = |reason: &str| {
            ApiError::subresource_forbidden(&requester.username, Subresource::Report, name, reason)
        };
        if tracker.recorded_for.is_some() {
            let reason = "a session that was created for an agent ends with its agent";
            return Err(forbidden(reason));
        }
        if status.agent.is_some()
            && let Some(cause) = viewer.denial_cause(Verb::Delete, &tracker.view())
        {
            return Err(forbidden(&format!(
                "while its agent runs, ending a session requires the right to delete it, which is denied {cause}"
            )));
        }
        return Ok(ReportDecision { status: None, ends: true, last_seen: now, period });
    }
    let current: Vec<Port> = status.ports.iter().map(session_port).collect();
    // A known version stays: it is that of the creator or of an earlier report.
    let is_unknown = tracker.spec.client_version.is_none();
    let version = report.client_version.as_ref().filter(|text| is_unknown && !text.is_empty());
    let unchanged = status.state == SessionState::Running
        && version.is_none()
        && current == report.ports
        && status.processes == report.processes;
    if let Some(Time(last_seen)) = &status.last_seen
        && unchanged
        && (0..period.coalescing_window()).contains(&(now.as_second() - last_seen.as_second()))
    {
        return Ok(ReportDecision { status: None, ends: false, last_seen: *last_seen, period });
    }
    let summary = bounds::port_summary(&report.ports);
    let mut patch = json!({
        "state": SessionState::Running,
        "ports": report.ports,
        "portSummary": summary,
        "processes": report.processes,
        "lastSeen": Time(now),
    });
    if let Some(version) = version {
        patch["clientVersion"] = json!(version);
    }
    Ok(ReportDecision { status: Some(patch), ends: false, last_seen: now, period })
}

/// Returns whether the requester owns the session.
///
/// Both must have the same user name, and the same uid if both have one.
fn is_owner(tracker: &Tracker, requester: &Requester) -> bool {
    tracker.spec.owner.as_ref().is_some_and(|owner| {
        let differs = match (&owner.uid, &requester.uid) {
            (Some(owner), Some(requester)) => owner != requester,
            _ => false,
        };
        owner.username == requester.username && !differs
    })
}

impl ReportDecision {
    /// Returns the response to the owner.
    #[must_use]
    pub fn response(&self, tracker: &Tracker, report: &SessionReportSpec) -> Value {
        let expiry = seconds(self.period.expiry());
        let expires = Timestamp::from_second(self.last_seen.as_second() + expiry).ok();
        let status = if self.ends {
            SessionReportStatus::default()
        } else {
            SessionReportStatus {
                last_seen: Some(Time(self.last_seen)),
                expires_at: expires.map(Time),
                period_seconds: i32::try_from(self.period.0.as_secs()).ok(),
            }
        };
        json!({
            "kind": Subresource::Report.kind(),
            "apiVersion": format!("{TRACKER_GROUP}/{TRACKER_VERSION}"),
            "metadata": { "name": tracker.key.name, "namespace": tracker.key.namespace },
            "spec": report,
            "status": status,
        })
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
