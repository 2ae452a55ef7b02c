//! `sessiontrackers/report`: the owner of a session tells that it lives, and its ports.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mirrord_sessions_crds::{
    Port, SessionReportSpec, SessionReportStatus, SessionState, TRACKER_GROUP, TRACKER_VERSION,
    session::{MAX_FILTER, MAX_PORTS, MAX_PROCESSES},
};
use serde_json::{Value, json};

use super::{
    ApiError,
    subresource::{self, Subresource},
};
use crate::sessions::Tracker;
use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
    text,
};

/// How often a session is reported about, if nobody says otherwise.
const PERIOD: Duration = Duration::from_secs(20);
/// Least and most of what may be said.
const PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// After how many periods without a report a session counts as over: two may be lost.
const EXPIRY: u32 = 3;
/// The longest name of a process, in characters.
const MAX_PROCESS: usize = 253;

/// How often sessions are reported about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReportPeriod(Duration);

impl Default for ReportPeriod {
    fn default() -> Self {
        Self(PERIOD)
    }
}

impl ReportPeriod {
    /// Each period; none if that is no whole number of seconds, too short, or too long.
    #[must_use]
    pub fn new(period: Duration) -> Option<Self> {
        let fits = period.subsec_nanos() == 0 && (PERIODS.0..=PERIODS.1).contains(&period);
        fits.then_some(Self(period))
    }

    /// After how long without a report a session is over.
    #[must_use]
    pub fn expiry(self) -> Duration {
        self.0 * EXPIRY
    }

    /// A report that says nothing new isn't written down while the last one is younger than this,
    /// in seconds. It is less than a period, so that what is reported in time never seems silent.
    fn coalesce(self) -> i64 {
        seconds(self.0 * 3 / 4)
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The report that was sent.
///
/// # Errors
/// It is none, or it says what a Session can't hold.
pub fn read(body: &[u8]) -> Result<SessionReportSpec, ApiError> {
    let kind = Subresource::Report.kind();
    let invalid = |field: &str, why: &str| ApiError::invalid(kind, field, why);
    let spec: Option<SessionReportSpec> = subresource::spec(body, Subresource::Report)?;
    let spec = spec.ok_or_else(|| invalid("spec", "Required value"))?;
    if spec.ports.len() > MAX_PORTS {
        return Err(invalid("spec.ports", &too_many(MAX_PORTS)));
    }
    for (at, port) in spec.ports.iter().enumerate() {
        if port.port == 0 {
            let field = format!("spec.ports[{at}].port");
            return Err(invalid(&field, "must be between 1 and 65535"));
        }
        if let Some(why) = port.filter.as_deref().and_then(|text| unfit(text, MAX_FILTER)) {
            return Err(invalid(&format!("spec.ports[{at}].filter"), &why));
        }
    }
    if spec.processes.len() > MAX_PROCESSES {
        return Err(invalid("spec.processes", &too_many(MAX_PROCESSES)));
    }
    for (at, process) in spec.processes.iter().enumerate() {
        if let Some(why) = unfit(process, MAX_PROCESS) {
            return Err(invalid(&format!("spec.processes[{at}]"), &why));
        }
    }
    Ok(spec)
}

fn too_many(most: usize) -> String {
    format!("must have at most {most} items")
}

fn unfit(text: &str, most: usize) -> Option<String> {
    if text.chars().nth(most).is_some() {
        return Some(format!("may not be longer than {most} characters"));
    }
    let control = text.chars().any(text::is_unsafe);
    control.then(|| "may hold no control characters, nor what is invisible".to_owned())
}

/// What a report comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportDecision {
    /// The status to be written, as a merge patch; none if that is there already.
    pub status: Option<Value>,
    /// The run is over: the Session is to be deleted.
    pub ends: bool,
    /// When the session was heard of, as far as that is written down.
    last_seen: Timestamp,
    period: ReportPeriod,
}

/// What a report by this requester comes to. RBAC has allowed it.
///
/// # Errors
/// They don't own the session, or there is no such session to their eyes.
pub fn decide(
    tracker: &Tracker,
    viewer: &Viewer,
    requester: &Requester,
    report: &SessionReportSpec,
    period: ReportPeriod,
    now: Timestamp,
) -> Result<ReportDecision, ApiError> {
    let name = &tracker.key.name;
    if !owns(tracker, requester) {
        if !viewer.may(Verb::Read, &tracker.view()) {
            return Err(ApiError::tracker_not_found(name));
        }
        let username = &requester.username;
        let why = "only the owner of a session reports about it";
        return Err(ApiError::subresource_forbidden(username, Subresource::Report, name, why));
    }
    let status = &tracker.status;
    if status.state == SessionState::Terminated {
        return Err(ApiError::session_ended(tracker));
    }
    if report.ended {
        // Else this would be a way to stop a run past the policies about `delete`.
        let forbidden = |why: &str| {
            ApiError::subresource_forbidden(&requester.username, Subresource::Report, name, why)
        };
        if tracker.recorded_for.is_some() {
            let why = "a session that was recorded for an agent ends with it";
            return Err(forbidden(why));
        }
        if status.agent.is_some()
            && let Some(cause) = viewer.why_not(Verb::Delete, &tracker.view())
        {
            return Err(forbidden(&format!(
                "while its agent runs, to end a session is to delete it, which is denied {cause}"
            )));
        }
        return Ok(ReportDecision { status: None, ends: true, last_seen: now, period });
    }
    let known: Vec<Port> =
        status.ports.iter().map(crate::sessions::tracker::session_port).collect();
    let unchanged = status.state == SessionState::Running
        && known == report.ports
        && status.processes == report.processes;
    if let Some(Time(last_seen)) = &status.last_seen
        && unchanged
        && (0..period.coalesce()).contains(&(now.as_second() - last_seen.as_second()))
    {
        return Ok(ReportDecision { status: None, ends: false, last_seen: *last_seen, period });
    }
    let summary = (!report.ports.is_empty()).then(|| Port::summary(&report.ports));
    Ok(ReportDecision {
        status: Some(json!({
            "state": SessionState::Running,
            "ports": report.ports,
            "portSummary": summary,
            "processes": report.processes,
            "lastSeen": Time(now),
        })),
        ends: false,
        last_seen: now,
        period,
    })
}

/// Names are what people know; an identifier tells two users of one name apart, where there is one.
fn owns(tracker: &Tracker, requester: &Requester) -> bool {
    tracker.spec.owner.as_ref().is_some_and(|owner| {
        let another = match (&owner.uid, &requester.uid) {
            (Some(owner), Some(requester)) => owner != requester,
            _ => false,
        };
        owner.username == requester.username && !another
    })
}

impl ReportDecision {
    /// What is answered.
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
