//! State machine that keeps a session registered while its command runs.
//!
//! The machine has neither clock nor network. Its inputs are events with their time since the
//! start, and its output is the next action. A session that a user stopped ends the command. A
//! session that expired during an outage, or that was deleted with the definition, is registered
//! again. A failure to reach the cluster ends nothing.

use std::time::Duration;

use mirrord_sessions_crds::session_tracker::{DELETED, DISPUTED, EXPIRED, STOPPED};

use super::{ending::Ending, failures::Failures};

/// The default interval of reports, and the bounds of the server's value in seconds.
const PERIOD: Duration = Duration::from_secs(20);
const PERIOD_BOUNDS: (u64, u64) = (1, 600);
/// The number of missed intervals after which the cluster expires a session.
const EXPIRY_PERIODS: u32 = 3;
/// The first delay after a failure, doubled up to the report interval.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The number of lookups before an unexplained end ends the command: one at once, one later.
const LOOKUPS: u8 = 2;
/// The time to wait for the reason of an end, which may arrive later than the end.
const REASON_GRACE: Duration = Duration::from_secs(2);

/// The next action of the task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NextAction {
    /// Send a report about the session.
    Report,
    /// Create the session again.
    Register,
    /// Look the session up in the cluster.
    LookUp,
    /// Wait until this time.
    Wait(Duration),
    /// End the command, because a user stopped its session.
    End(Ending),
}

/// The cause of a failed request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestFailure {
    /// The session does not exist.
    Gone,
    /// The cluster does not serve the request, or forbids it.
    Refused,
    /// The definition of Sessions is deleted, or being deleted.
    Undefined,
    /// The credentials cannot be obtained, or the cluster rejects them.
    Unauthenticated,
    /// The failure may be temporary.
    Unreachable,
}

impl RequestFailure {
    /// Returns whether a later request may succeed.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Unreachable)
    }
}

/// The result of looking up a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Observation {
    /// The session exists and is live.
    Alive,
    /// The session has ended.
    Ended(Ending),
    /// The session was deleted with the definition of Sessions.
    Undefined,
    /// The state could not be read.
    Unknown,
}

/// The state of a session in a watch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum WatchView {
    /// The session has ended.
    Ended(Ending),
    /// The session is not visible, for an unknown reason.
    Hidden,
    /// The cluster serves no Sessions.
    Undefined,
}

/// A notice for the user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// The cluster is unreachable.
    Unreachable,
    /// The cluster rejects the credentials, or there are none.
    Unauthenticated,
    /// The cluster is reachable again, and accepts the credentials.
    Reachable,
    /// The cluster accepts no reports.
    Refused,
    /// The cluster serves no Sessions any more.
    Undefined,
    /// The cluster accepts no new session.
    Unregistered,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// The session is live, as far as known.
    Live,
    /// The session may have ended.
    Doubtful,
    /// The session ended at this time; the reason may follow. The last field counts the lookups
    /// since.
    Ended(Ending, Duration, u8),
    /// No session is registered.
    Unregistered,
}

/// The state of reporting.
#[derive(Clone, Debug)]
struct Reports {
    /// True if sessions are created with the announcement of reports.
    announced: bool,
    /// True if the cluster rejects reports.
    rejected: bool,
    /// True if the session expires without reports: they were announced, or one was accepted.
    needed: bool,
}

/// The state of the heartbeat of one session.
#[derive(Clone, Debug)]
pub(crate) struct HeartbeatState {
    state: State,
    /// The time of the next action.
    next_action_at: Duration,
    retry_delay: Duration,
    period: Duration,
    /// The time of the last accepted report, or of the creation.
    last_contact: Duration,
    failures: Failures,
    reports: Reports,
    /// True if a report was rejected with 404 since the session was last seen. Policies may hide a
    /// session from its owner and still accept reports.
    report_not_found: bool,
    /// True if the user was notified that no session exists.
    notified_unrecorded: bool,
}

impl HeartbeatState {
    /// Creates the state after a session was created, with or without announced reports.
    pub(crate) fn new(now: Duration, announced: bool) -> Self {
        Self {
            state: State::Live,
            next_action_at: now,
            retry_delay: RETRY_DELAY,
            period: PERIOD,
            last_contact: now,
            failures: Failures::default(),
            reports: Reports { announced, rejected: false, needed: announced },
            report_not_found: false,
            notified_unrecorded: false,
        }
    }

    /// Returns the next action.
    pub(crate) fn next(&self, now: Duration) -> NextAction {
        if now < self.next_action_at {
            return NextAction::Wait(self.next_action_at);
        }
        match &self.state {
            State::Live => NextAction::Report,
            State::Doubtful if self.can_report() => NextAction::Report,
            State::Doubtful => NextAction::LookUp,
            State::Ended(ending, since, lookups) if self.is_stop(ending, *since) => {
                // Neither a lagging replica, nor the deletion of the definition, nor a policy that
                // hides the session from its owner may end the command.
                if *lookups < LOOKUPS && !ending.is_settled() {
                    NextAction::LookUp
                } else if ending.is_missing_only() && self.can_report() {
                    NextAction::Report
                } else {
                    NextAction::End(ending.clone())
                }
            }
            State::Ended(..) | State::Unregistered => NextAction::Register,
        }
    }

    /// Handles new data to report.
    pub(crate) fn on_new_data(&mut self, now: Duration) {
        if self.state == State::Live && self.failures.is_empty() && !self.reports.rejected {
            self.next_action_at = now;
        }
    }

    /// Handles the result of a report.
    pub(crate) fn on_report_result(
        &mut self,
        result: Result<Option<u64>, RequestFailure>,
        now: Duration,
    ) -> Option<Notice> {
        match result {
            Ok(period) => {
                if let Some(seconds) = period {
                    self.period =
                        Duration::from_secs(seconds.clamp(PERIOD_BOUNDS.0, PERIOD_BOUNDS.1));
                }
                self.reports.rejected = false;
                self.reports.needed = true;
                self.set_live();
                self.on_contact(now)
            }
            Err(RequestFailure::Gone) => {
                if !matches!(self.state, State::Ended(..)) {
                    self.state = State::Doubtful;
                }
                self.report_not_found = true;
                self.next_action_at = now;
                None
            }
            Err(RequestFailure::Refused) => {
                // A state in doubt is looked up instead.
                let is_live = self.state == State::Live;
                self.next_action_at = if is_live { now + self.period } else { now };
                let first = !std::mem::replace(&mut self.reports.rejected, true);
                first.then_some(Notice::Refused)
            }
            Err(RequestFailure::Undefined) => self.on_undefined(now),
            Err(failure) => self.on_failure(failure, now),
        }
    }

    /// Handles the result of creating the session again.
    pub(crate) fn on_register_result(
        &mut self,
        result: Result<(), RequestFailure>,
        now: Duration,
    ) -> Option<Notice> {
        match result {
            Ok(()) => {}
            Err(failure) if failure.is_temporary() => return self.on_failure(failure, now),
            Err(failure) => {
                self.schedule_retry(now);
                let first = !std::mem::replace(&mut self.notified_unrecorded, true);
                return first.then_some(match failure {
                    RequestFailure::Undefined => Notice::Undefined,
                    _ => Notice::Unregistered,
                });
            }
        }
        self.notified_unrecorded = false;
        self.reports.needed = self.announces_reports();
        self.set_live();
        let notice = self.on_contact(now);
        self.next_action_at = now;
        notice
    }

    /// Handles the result of a lookup.
    pub(crate) fn on_observation(&mut self, look: Observation, now: Duration) -> Option<Notice> {
        match look {
            Observation::Alive => {
                self.set_live();
                // The replica that reported the session as missing may lag for a while.
                self.schedule_retry(now);
                None
            }
            Observation::Ended(ending) => {
                self.on_ended(ending, now);
                if let State::Ended(ending, _, lookups) = &mut self.state {
                    *lookups = lookups.saturating_add(1);
                    if *lookups < LOOKUPS && !ending.is_settled() {
                        self.next_action_at = now + REASON_GRACE;
                    }
                }
                None
            }
            Observation::Undefined => self.on_undefined(now),
            Observation::Unknown => {
                // A requester who may read nothing relies on reports alone.
                self.report_not_found = false;
                // The cause is that of the reports.
                self.on_failure(self.failures.cause(), now)
            }
        }
    }

    /// Handles the state of the session in a watch.
    pub(crate) fn on_watch_view(&mut self, view: WatchView, now: Duration) -> Option<Notice> {
        match view {
            WatchView::Ended(ending) => self.on_ended(ending, now),
            WatchView::Hidden if self.state == State::Live => {
                self.state = State::Doubtful;
                // An unreachable cluster is not contacted more often because of a watch.
                if self.failures.is_empty() {
                    self.next_action_at = now;
                }
            }
            WatchView::Hidden => {}
            WatchView::Undefined => return self.on_undefined(now),
        }
        None
    }

    fn on_ended(&mut self, ending: Ending, now: Duration) {
        match self.state {
            State::Unregistered => {}
            State::Ended(..) if !ending.is_settled() => {}
            State::Ended(_, since, _) => {
                self.state = State::Ended(ending, since, LOOKUPS);
                self.next_action_at = now;
            }
            State::Live | State::Doubtful => {
                // A deleted definition may be restored soon: an unexplained end is looked up at
                // once.
                self.next_action_at = if ending.is_settled() || self.is_stop(&ending, now) {
                    now
                } else {
                    now + REASON_GRACE
                };
                self.state = State::Ended(ending, now, 0);
                // The replica may have lagged: send a report again.
                self.report_not_found = false;
            }
        }
    }

    /// Handles a cluster without Sessions: nothing can be reported, and no user stopped the
    /// session.
    fn on_undefined(&mut self, now: Duration) -> Option<Notice> {
        // The user who stopped the session was reported before.
        if let State::Ended(ending, ..) = &self.state
            && ending.is_settled()
        {
            return None;
        }
        if self.state == State::Unregistered {
            return None;
        }
        self.state = State::Unregistered;
        self.retry_delay = RETRY_DELAY;
        self.schedule_retry(now);
        let first = !std::mem::replace(&mut self.notified_unrecorded, true);
        first.then_some(Notice::Undefined)
    }

    /// Handles the observation of the live session.
    fn set_live(&mut self) {
        self.state = State::Live;
        self.report_not_found = false;
    }

    /// Returns whether a report could show that the session exists.
    fn can_report(&self) -> bool {
        !self.reports.rejected && !self.report_not_found
    }

    /// Returns whether a new session is created with the announcement of reports: not if the
    /// cluster rejects them.
    pub(crate) fn announces_reports(&self) -> bool {
        self.reports.announced && !self.reports.rejected
    }

    /// Returns whether an end means that a user stopped the session. An unexplained end counts as
    /// expiry if the session expires without reports and the last report is too old.
    fn is_stop(&self, ending: &Ending, since: Duration) -> bool {
        let has_expired = self.reports.needed
            && since.saturating_sub(self.last_contact) >= self.period * EXPIRY_PERIODS;
        match (ending.user(), ending.reason.as_deref()) {
            (_, Some(EXPIRED)) => false,
            (Some(_), _) | (None, Some(STOPPED)) => true,
            (None, None | Some(DELETED | DISPUTED)) => !has_expired,
            (None, Some(_)) => false,
        }
    }

    fn on_contact(&mut self, now: Duration) -> Option<Notice> {
        self.last_contact = now;
        self.retry_delay = RETRY_DELAY;
        self.next_action_at = now + self.period;
        self.failures.end()
    }

    /// Schedules the next attempt after a delay, and doubles the delay.
    fn schedule_retry(&mut self, now: Duration) {
        self.next_action_at = now + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(self.period);
    }

    fn on_failure(&mut self, failure: RequestFailure, now: Duration) -> Option<Notice> {
        self.schedule_retry(now);
        self.failures.add(failure)
    }

    /// Handles the decision to create a new session after the end of the last.
    pub(crate) fn on_registering(&mut self) {
        self.state = State::Unregistered;
    }
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
