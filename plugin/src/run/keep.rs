//! What to do next for a session to be known to the cluster as long as its command runs.
//!
//! A machine without clock or network: it is told what happened and when (since the start), and
//! says what to do. A session that somebody stopped ends the command. One that only expired, while
//! the cluster could not be reached, or that went with the definition of all Sessions, is
//! registered again; and no failure to reach the cluster ends anything.

use std::time::Duration;

use mirrord_sessions_crds::session_tracker::{DELETED, DISPUTED, EXPIRED, STOPPED};

use super::ending::Ending;

/// How often is reported where the server doesn't say, and least and most of what it may say.
const PERIOD: Duration = Duration::from_secs(20);
const PERIODS: (u64, u64) = (1, 600);
/// After how many periods without a report the cluster takes a session for over.
const EXPIRY: u32 = 3;
/// The first pause after a failure. Each is twice the one before, up to a period.
const PAUSE: Duration = Duration::from_secs(1);
/// How many failures in a row the person is told of.
const WORTH_A_WORD: u32 = 3;
/// How often is looked, once at once and once later, before an end that nobody explains ends the
/// command.
const LOOKS: u8 = 2;
/// Who stopped a session may be told a moment after that it ended: how long to wait for it.
const HEARSAY: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// Report about the session.
    Report,
    /// Create a session anew.
    Register,
    /// Look what has become of the session.
    Look,
    /// Nothing until then.
    Wait(Duration),
    /// End the command: somebody stopped its session.
    End(Ending),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// There is no such session, or not any more.
    Gone,
    /// The cluster takes no such request: not served, or not allowed.
    Refused,
    /// The cluster has no Sessions, or is about to have none: somebody uninstalls them.
    Undefined,
    /// Anything else: it may pass.
    Unreachable,
}

/// What became of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// It is there.
    Alive,
    /// It is over.
    Ended(Ending),
    /// It went with the definition of all Sessions.
    Undefined,
    /// It can't be told now.
    Unknown,
}

/// What a watch shows of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sight {
    /// It is over.
    Over(Ending),
    /// It is out of sight, for whatever reason.
    Away,
    /// The cluster has no Sessions.
    Undefined,
}

/// What the person is to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// The cluster can't be reached.
    Lost,
    /// It can again.
    Back,
    /// It takes no reports.
    Refused,
    /// It has no Sessions any more.
    Undefined,
    /// It takes no new session.
    Unregistered,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// The session is there, as far as is known.
    Live,
    /// It may not be.
    Doubtful,
    /// It is over since then, and who did that may still be told. It has been looked at so often
    /// since.
    Over(Ending, Duration, u8),
    /// There is none.
    Unregistered,
}

/// What is known of reports.
#[derive(Clone, Debug)]
struct Reports {
    /// Sessions are created with the promise of them.
    promised: bool,
    /// The cluster takes none.
    refused: bool,
    /// The session expires without: they were promised, or one was taken.
    needed: bool,
}

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    state: State,
    /// When to do something next.
    due: Duration,
    pause: Duration,
    period: Duration,
    /// When the cluster last took a report, or created the session.
    heard: Duration,
    /// How many requests failed one after the other.
    failures: u32,
    reports: Reports,
    /// In doubt, or at an end that nobody explains: a report has said that there is no such
    /// session. What policies hide from its owner can be reported about.
    denied: bool,
    /// The person was told that there is no session.
    unrecorded: bool,
}

impl Keep {
    /// A session was created just now, with the promise of reports, or without.
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

    /// What to do now.
    pub(crate) fn next(&self, now: Duration) -> Next {
        if now < self.due {
            return Next::Wait(self.due);
        }
        match &self.state {
            State::Live => Next::Report,
            State::Doubtful if self.is_worth_a_report() => Next::Report,
            State::Doubtful => Next::Look,
            State::Over(ending, since, looks) if self.is_stop(ending, *since) => {
                // A replica that lags must not end a command, nor the end of all Sessions, nor a
                // policy that hides a session from its owner.
                if *looks < LOOKS && !ending.is_settled() {
                    Next::Look
                } else if ending.is_bare() && self.is_worth_a_report() {
                    Next::Report
                } else {
                    Next::End(ending.clone())
                }
            }
            State::Over(..) | State::Unregistered => Next::Register,
        }
    }

    /// There is something new to report.
    pub(crate) fn changed(&mut self, now: Duration) {
        if self.state == State::Live && self.failures == 0 && !self.reports.refused {
            self.due = now;
        }
    }

    /// A report was taken, or not.
    pub(crate) fn reported(
        &mut self,
        result: Result<Option<u64>, Failure>,
        now: Duration,
    ) -> Option<News> {
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
            Err(Failure::Gone) => {
                if !matches!(self.state, State::Over(..)) {
                    self.state = State::Doubtful;
                }
                self.denied = true;
                self.due = now;
                None
            }
            Err(Failure::Refused) => {
                // Whatever was in doubt is to be looked at instead.
                let is_live = self.state == State::Live;
                self.due = if is_live { now + self.period } else { now };
                let first = !std::mem::replace(&mut self.reports.refused, true);
                first.then_some(News::Refused)
            }
            Err(Failure::Undefined) => self.undefined(now),
            Err(Failure::Unreachable) => self.failed(now),
        }
    }

    /// A session was created anew, or not.
    pub(crate) fn registered(
        &mut self,
        result: Result<(), Failure>,
        now: Duration,
    ) -> Option<News> {
        match result {
            Ok(()) => {}
            Err(Failure::Unreachable) => return self.failed(now),
            Err(failure) => {
                self.pause(now);
                let first = !std::mem::replace(&mut self.unrecorded, true);
                return first.then_some(match failure {
                    Failure::Undefined => News::Undefined,
                    _ => News::Unregistered,
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

    /// What a look showed.
    pub(crate) fn looked(&mut self, look: Look, now: Duration) -> Option<News> {
        match look {
            Look::Alive => {
                self.live();
                // Who said it was gone may say so for a while.
                self.pause(now);
                None
            }
            Look::Ended(ending) => {
                self.ended(ending, now);
                if let State::Over(ending, _, looks) = &mut self.state {
                    *looks = looks.saturating_add(1);
                    if *looks < LOOKS && !ending.is_settled() {
                        self.due = now + HEARSAY;
                    }
                }
                None
            }
            Look::Undefined => self.undefined(now),
            Look::Unknown => {
                // Who may look at nothing has only reports to go by.
                self.denied = false;
                self.failed(now)
            }
        }
    }

    /// What a watch shows of the session.
    pub(crate) fn seen(&mut self, sight: Sight, now: Duration) -> Option<News> {
        match sight {
            Sight::Over(ending) => self.ended(ending, now),
            Sight::Away if self.state == State::Live => {
                self.state = State::Doubtful;
                // A cluster that can't be reached is not asked more often for it.
                if self.failures == 0 {
                    self.due = now;
                }
            }
            Sight::Away => {}
            Sight::Undefined => return self.undefined(now),
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
                // A definition that is gone may soon be back: an end that nobody explains is looked
                // into at once.
                self.due = if ending.is_settled() || self.is_stop(&ending, now) {
                    now
                } else {
                    now + HEARSAY
                };
                self.state = State::Over(ending, now, 0);
                // A replica may have lagged: it is asked again.
                self.denied = false;
            }
        }
    }

    /// The cluster has no Sessions: there is nothing to report about, and nobody stopped it.
    fn undefined(&mut self, now: Duration) -> Option<News> {
        // Who stopped it was told before.
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
        first.then_some(News::Undefined)
    }

    /// The session is there.
    fn live(&mut self) {
        self.state = State::Live;
        self.denied = false;
    }

    /// Whether a report might show that the session is there.
    fn is_worth_a_report(&self) -> bool {
        !self.reports.refused && !self.denied
    }

    /// Whether a session is to be created with the promise of reports: not if the cluster takes
    /// none.
    pub(crate) fn promises(&self) -> bool {
        self.reports.promised && !self.reports.refused
    }

    /// Whether an end means that somebody stopped the session. One that nobody explains is taken
    /// for an expiry if the cluster had not heard of the session for so long, and it is one that
    /// expires.
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

    fn heard(&mut self, now: Duration) -> Option<News> {
        self.heard = now;
        self.pause = PAUSE;
        self.due = now + self.period;
        let failures = std::mem::take(&mut self.failures);
        (failures >= WORTH_A_WORD).then_some(News::Back)
    }

    /// Goes on after a pause, and the next is longer.
    fn pause(&mut self, now: Duration) {
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(self.period);
    }

    fn failed(&mut self, now: Duration) -> Option<News> {
        self.pause(now);
        self.failures = self.failures.saturating_add(1);
        (self.failures == WORTH_A_WORD).then_some(News::Lost)
    }

    /// The session is over, and a new one is to be created.
    pub(crate) fn registering(&mut self) {
        self.state = State::Unregistered;
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
