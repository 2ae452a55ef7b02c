//! State machine that keeps a session registered while its command runs.
//!
//! The machine has neither clock nor network. Its inputs are events with their time since the
//! start, and its output is the next action. A session that a user stopped ends the command. A
//! session that expired during an outage, or that was deleted with the definition, is registered
//! again. A failure to reach the cluster ends nothing.

use std::time::Duration;

use mirrord_sessions_crds::session_tracker::{DELETED, DISPUTED, EXPIRED, STOPPED};

use super::ending::Ending;

/// The default interval of reports, and the bounds of the server's value in seconds.
const PERIOD: Duration = Duration::from_secs(20);
const PERIODS: (u64, u64) = (1, 600);
/// The number of missed intervals after which the cluster expires a session.
const EXPIRY: u32 = 3;
/// The first delay after a failure, doubled up to the report interval.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of consecutive failures after which the user is notified.
const WORTH_A_WORD: u32 = 3;
/// The number of lookups before an unexplained end ends the command: one at once, one later.
const LOOKS: u8 = 2;
/// The time to wait for the reason of an end, which may arrive later than the end.
const REASON_GRACE: Duration = Duration::from_secs(2);

/// The next action of the task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NextAction {
    /// Send a report about the session.
    Report,
    /// Create the session again.
    Register,
    /// Look up the session in the cluster.
    Observation,
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
    /// The failure may be temporary.
    Unreachable,
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
    Over(Ending),
    /// The session is not visible, for an unknown reason.
    Away,
    /// The cluster serves no Sessions.
    Undefined,
}

/// A notice for the user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// The cluster is unreachable.
    Unreachable,
    /// The cluster is reachable again.
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
    Over(Ending, Duration, u8),
    /// No session is registered.
    Unregistered,
}

/// The state of reporting.
#[derive(Clone, Debug)]
struct Reports {
    /// Whether sessions are created with the announcement of reports.
    promised: bool,
    /// Whether the cluster rejects reports.
    refused: bool,
    /// Whether the session expires without reports: they were announced, or one was accepted.
    needed: bool,
}

/// The state of the heartbeat of one session.
#[derive(Clone, Debug)]
pub(crate) struct HeartbeatState {
    state: State,
    /// The time of the next action.
    due: Duration,
    pause: Duration,
    period: Duration,
    /// The time of the last accepted report, or of the creation.
    heard: Duration,
    /// The number of consecutive failures.
    failures: u32,
    reports: Reports,
    /// Whether a report was answered by 404 since the session was last seen. Policies may hide a
    /// session from its owner and still accept reports.
    denied: bool,
    /// Whether the user was notified that no session exists.
    unrecorded: bool,
}

impl HeartbeatState {
    /// Creates the state after a session was created, with or without announced reports.
    pub(crate) fn new(now: Duration, promises: bool) -> Self {
        Self {
            state: State::Live,
            due: now,
            pause: PAUSE,
            period: PERIOD,
            heard: now,
            failures: 0,
            reports: Reports { promised: promises, refused: false, needed: promises },
            denied: false,
            unrecorded: false,
        }
    }

    /// Returns the next action.
    pub(crate) fn next(&self, now: Duration) -> NextAction {
        if now < self.due {
            return NextAction::Wait(self.due);
        }
        match &self.state {
            State::Live => NextAction::Report,
            State::Doubtful if self.is_worth_a_report() => NextAction::Report,
            State::Doubtful => NextAction::Observation,
            State::Over(ending, since, looks) if self.is_stop(ending, *since) => {
                // Neither a lagging replica, nor the deletion of the definition, nor a policy that
                // hides the session from its owner may end the command.
                if *looks < LOOKS && !ending.is_settled() {
                    NextAction::Observation
                } else if ending.is_bare() && self.is_worth_a_report() {
                    NextAction::Report
                } else {
                    NextAction::End(ending.clone())
                }
            }
            State::Over(..) | State::Unregistered => NextAction::Register,
        }
    }

    /// Handles new data to report.
    pub(crate) fn changed(&mut self, now: Duration) {
        if self.state == State::Live && self.failures == 0 && !self.reports.refused {
            self.due = now;
        }
    }

    /// Handles the result of a report.
    pub(crate) fn reported(
        &mut self,
        result: Result<Option<u64>, RequestFailure>,
        now: Duration,
    ) -> Option<Notice> {
        match result {
            Ok(period) => {
                if let Some(seconds) = period {
                    self.period = Duration::from_secs(seconds.clamp(PERIODS.0, PERIODS.1));
                }
                self.reports.refused = false;
                self.reports.needed = true;
                self.live();
                self.heard(now)
            }
            Err(RequestFailure::Gone) => {
                if !matches!(self.state, State::Over(..)) {
                    self.state = State::Doubtful;
                }
                self.denied = true;
                self.due = now;
                None
            }
            Err(RequestFailure::Refused) => {
                // A state in doubt is looked up instead.
                let is_live = self.state == State::Live;
                self.due = if is_live { now + self.period } else { now };
                let first = !std::mem::replace(&mut self.reports.refused, true);
                first.then_some(Notice::Refused)
            }
            Err(RequestFailure::Undefined) => self.undefined(now),
            Err(RequestFailure::Unreachable) => self.failed(now),
        }
    }

    /// Handles the result of creating the session again.
    pub(crate) fn registered(
        &mut self,
        result: Result<(), RequestFailure>,
        now: Duration,
    ) -> Option<Notice> {
        match result {
            Ok(()) => {}
            Err(RequestFailure::Unreachable) => return self.failed(now),
            Err(failure) => {
                self.pause(now);
                let first = !std::mem::replace(&mut self.unrecorded, true);
                return first.then_some(match failure {
                    RequestFailure::Undefined => Notice::Undefined,
                    _ => Notice::Unregistered,
                });
            }
        }
        self.unrecorded = false;
        self.reports.needed = self.promises();
        self.live();
        let news = self.heard(now);
        self.due = now;
        news
    }

    /// Handles the result of a lookup.
    pub(crate) fn looked(&mut self, look: Observation, now: Duration) -> Option<Notice> {
        match look {
            Observation::Alive => {
                self.live();
                // The definition may stay absent for a while.
                self.pause(now);
                None
            }
            Observation::Ended(ending) => {
                self.ended(ending, now);
                if let State::Over(ending, _, looks) = &mut self.state {
                    *looks = looks.saturating_add(1);
                    if *looks < LOOKS && !ending.is_settled() {
                        self.due = now + REASON_GRACE;
                    }
                }
                None
            }
            Observation::Undefined => self.undefined(now),
            Observation::Unknown => {
                // A requester who may read nothing relies on reports alone.
                self.denied = false;
                self.failed(now)
            }
        }
    }

    /// Handles the state of the session in a watch.
    pub(crate) fn seen(&mut self, view: WatchView, now: Duration) -> Option<Notice> {
        match view {
            WatchView::Over(ending) => self.ended(ending, now),
            WatchView::Away if self.state == State::Live => {
                self.state = State::Doubtful;
                // An unreachable cluster is not contacted more often because of a watch.
                if self.failures == 0 {
                    self.due = now;
                }
            }
            WatchView::Away => {}
            WatchView::Undefined => return self.undefined(now),
        }
        None
    }

    fn ended(&mut self, ending: Ending, now: Duration) {
        match self.state {
            State::Unregistered => {}
            State::Over(..) if !ending.is_settled() => {}
            State::Over(_, since, _) => {
                self.state = State::Over(ending, since, LOOKS);
                self.due = now;
            }
            State::Live | State::Doubtful => {
                // A deleted definition may be restored soon: an unexplained end is looked up at
                // once.
                self.due = if ending.is_settled() || self.is_stop(&ending, now) {
                    now
                } else {
                    now + REASON_GRACE
                };
                self.state = State::Over(ending, now, 0);
                // The replica may have lagged: send a report again.
                self.denied = false;
            }
        }
    }

    /// Handles a cluster without Sessions: nothing can be reported, and no user stopped the
    /// session.
    fn undefined(&mut self, now: Duration) -> Option<Notice> {
        // The user who stopped the session was reported before.
        if let State::Over(ending, ..) = &self.state
            && ending.is_settled()
        {
            return None;
        }
        if self.state == State::Unregistered {
            return None;
        }
        self.state = State::Unregistered;
        self.pause = PAUSE;
        self.pause(now);
        let first = !std::mem::replace(&mut self.unrecorded, true);
        first.then_some(Notice::Undefined)
    }

    /// Handles the observation of the live session.
    fn live(&mut self) {
        self.state = State::Live;
        self.denied = false;
    }

    /// Returns whether a report could show that the session exists.
    fn is_worth_a_report(&self) -> bool {
        !self.reports.refused && !self.denied
    }

    /// Returns whether a new session is created with the announcement of reports: not if the
    /// cluster rejects them.
    pub(crate) fn promises(&self) -> bool {
        self.reports.promised && !self.reports.refused
    }

    /// Returns whether an end means that a user stopped the session. An unexplained end counts as
    /// expiry if the session expires without reports and the last report is too old.
    fn is_stop(&self, ending: &Ending, since: Duration) -> bool {
        let silent =
            self.reports.needed && since.saturating_sub(self.heard) >= self.period * EXPIRY;
        match (ending.person(), ending.reason.as_deref()) {
            (_, Some(EXPIRED)) => false,
            (Some(_), _) | (None, Some(STOPPED)) => true,
            (None, None | Some(DELETED | DISPUTED)) => !silent,
            (None, Some(_)) => false,
        }
    }

    fn heard(&mut self, now: Duration) -> Option<Notice> {
        self.heard = now;
        self.pause = PAUSE;
        self.due = now + self.period;
        let failures = std::mem::take(&mut self.failures);
        (failures >= WORTH_A_WORD).then_some(Notice::Reachable)
    }

    /// Schedules the next attempt after a delay, and doubles the delay.
    fn pause(&mut self, now: Duration) {
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(self.period);
    }

    fn failed(&mut self, now: Duration) -> Option<Notice> {
        self.pause(now);
        self.failures = self.failures.saturating_add(1);
        (self.failures == WORTH_A_WORD).then_some(Notice::Unreachable)
    }

    /// Handles the decision to create a new session after the end of the last.
    pub(crate) fn registering(&mut self) {
        self.state = State::Unregistered;
    }
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
