//! What is told of a run, in an Event.

use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_crds::SessionId;

use super::{Agent, AgentId, Draft, Recorded, Reporting};
use crate::{
    agents::Binding,
    sessions,
    sessions::{AGENT_ENDED, COMMAND_ENDED, EXPIRED},
    text::printable,
};

/// An Event's content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// It is a warning.
    pub warning: bool,
    /// A word for machines.
    pub reason: &'static str,
    /// A line for people.
    pub note: String,
}

/// How a Session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending<'a> {
    /// Its agent ended.
    Over,
    /// The command that it was created for ended, as its owner says.
    CommandOver,
    /// Somebody deleted it, and the agent was deleted for it; who, if that is known.
    Stopped(Option<&'a str>),
    /// This user deleted it, and there was no agent.
    StoppedAlone(&'a str),
    /// It was deleted, and there was no agent.
    Deleted,
    /// It was not heard of for too long.
    Expired,
}

/// The word for a run that somebody stopped.
const STOPPED: &str = "SessionStopped";
/// How much of a name is shown: notes end at 1,024 bytes.
const SHOWN: usize = 120;

impl Told {
    fn new(warning: bool, reason: &'static str, note: String) -> Self {
        Self { warning, reason, note }
    }

    /// Whether it tells that somebody stopped a run.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.reason == STOPPED
    }

    /// Of a Session that was recorded, what is not known of it.
    #[must_use]
    pub fn of_record(draft: &Draft) -> Vec<Self> {
        let unverified = draft.unverified.map(|why| {
            let note = format!("Nobody knows for sure who runs this: of the agent, {why}.");
            Self::new(true, "OwnerUnverified", note)
        });
        let unresolved = draft.unresolved.as_ref().map(|why| {
            let note = format!("It is not known what this targets: {why}.");
            Self::new(true, "TargetUnresolved", note)
        });
        unverified.into_iter().chain(unresolved).collect()
    }

    /// A Session ended because its agent did.
    #[must_use]
    pub fn over(session: &Recorded, now: Timestamp) -> Self {
        ended(&session.name, &session.user, &session.target, session.created, &Ending::Over, now)
    }

    /// A Session ended because it was not heard of.
    #[must_use]
    pub fn expired(session: &Reporting, now: Timestamp) -> Self {
        ended(&session.name, &session.user, &session.target, session.created, &Ending::Expired, now)
    }

    /// A Session that lived by reports is gone: how, as far as is known. Of one that expired it was
    /// told by whoever deleted it.
    #[must_use]
    pub fn gone(
        session: &Reporting,
        how: Option<&sessions::Ending>,
        now: Timestamp,
    ) -> Option<Self> {
        let reason = how.map(|how| &*how.reason);
        let ending = match (reason, how.and_then(|how| how.by.as_deref())) {
            (Some(EXPIRED), _) => return None,
            (Some(COMMAND_ENDED), _) => Ending::CommandOver,
            (_, Some(by)) => Ending::StoppedAlone(by),
            (_, None) => Ending::Deleted,
        };
        Some(ended(&session.name, &session.user, &session.target, session.created, &ending, now))
    }

    /// An agent was deleted, since its Session was: how that ended, as far as is known.
    #[must_use]
    pub fn stopped(
        agent: &Agent,
        binding: &Binding,
        how: Option<&sessions::Ending>,
        now: Timestamp,
    ) -> Self {
        let ending = match how {
            Some(how) if *how.reason == *COMMAND_ENDED => Ending::CommandOver,
            how => Ending::Stopped(how.and_then(|how| how.by.as_deref())),
        };
        let Binding { name, owner, target, .. } = binding;
        ended(name, owner, target, agent.created, &ending, now)
    }

    /// The Session of an agent that can't be removed was deleted, and is there again.
    #[must_use]
    pub fn runs_on(agent: &AgentId) -> Self {
        let note = format!(
            "The Session was deleted and its run goes on: Kubernetes can't remove ephemeral container {}. \
             Delete pod {} to end it.",
            agent.container, agent.name
        );
        Self::new(true, "AgentRunsOn", note)
    }

    /// No Session could be recorded for an agent.
    #[must_use]
    pub fn refused(why: &str) -> Self {
        let why = printable(why, 240);
        let note =
            format!("This run of mirrord has no Session, since the API server refuses it: {why}");
        Self::new(true, "SessionRefused", note)
    }

    /// Others have sessions on the same target. Who, is for `list` to say, to who may see it.
    #[must_use]
    pub fn shared(session: &Recorded) -> Self {
        let target = printable(&session.target, SHOWN);
        let note = format!(
            "Somebody else already has a session on {target}: two that take the same traffic get in each \
             other's way. kubectl mirrord-sessions list -o wide shows who."
        );
        Self::new(true, "TargetShared", note)
    }

    /// No Session could be recorded for an agent, since strangers have all its names.
    #[must_use]
    pub fn names_taken(namespace: &str, names: &[String]) -> Self {
        let note = format!(
            "This run of mirrord has no Session, since every name that it could have is taken by a Session of \
             somebody else's: delete one of them in namespace {namespace}, and it gets its own: {}",
            names.join(" ")
        );
        Self::new(true, "SessionNamesTaken", note)
    }
}

fn ended(
    name: &str,
    user: &str,
    target: &str,
    since: Option<Timestamp>,
    ending: &Ending<'_>,
    now: Timestamp,
) -> Told {
    let id = name.parse::<SessionId>().map_or_else(|_| name.to_owned(), |id| id.to_string());
    let (user, target) = (printable(user, SHOWN), printable(target, SHOWN));
    let long = since.map_or_else(String::new, |since| {
        let seconds = now.duration_since(since).as_secs().max(0);
        format!(" after {}", duration(seconds.unsigned_abs()))
    });
    let (reason, why) = match ending {
        Ending::Over => ("SessionEnded", AGENT_ENDED.to_owned()),
        Ending::CommandOver => ("SessionEnded", COMMAND_ENDED.to_owned()),
        Ending::Expired => {
            ("SessionExpired", "it was not heard of for too long, which stops nothing".to_owned())
        }
        Ending::StoppedAlone(by) => {
            (STOPPED, format!("it was stopped by {}", printable(by, SHOWN)))
        }
        Ending::Deleted => {
            ("SessionEnded", "it was deleted, and who did that is not known".to_owned())
        }
        Ending::Stopped(by) => {
            let by = by.map_or_else(String::new, |by| format!(" by {}", printable(by, SHOWN)));
            (STOPPED, format!("it was stopped{by}, and its agent deleted"))
        }
    };
    let note = format!("Session {id} of {user} on {target} ended{long}: {why}.");
    Told::new(false, reason, note)
}

/// As `kubectl` would say it with all there is: `1h2m3s`.
fn duration(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_crds::{Session, SessionSpec, annotations::REPORTS};

    use super::*;
    use crate::controller::{
        NAMES,
        fixtures::{agent, binding, recorded, time},
        session_name,
    };

    #[test]
    fn endings() {
        let agent = agent();
        let mut session = recorded("1", &agent, "alice");
        session.name = "487f4f2b6d2376ad".into();
        let told = Told::over(&session, time(110 + 3723));
        assert_eq!(
            (told.reason, told.note.as_str()),
            (
                "SessionEnded",
                "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 1h2m3s: its agent ended."
            )
        );
        let tie = binding(&agent, &session);
        let bob = sessions::Ending::stopped("bob\u{1b}", 292);
        let told = Told::stopped(&agent, &tie, Some(&bob), time(292));
        assert_eq!(
            told.note,
            "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 3m12s: it was stopped by bob\\x1b, and its agent deleted."
        );
        let told = Told::stopped(&agent, &tie, None, time(0));
        assert!(told.note.contains("ended after 0s: it was stopped, and"), "{}", told.note);
        let over = sessions::Ending { reason: COMMAND_ENDED.into(), by: None, at: 292 };
        let told = Told::stopped(&agent, &tie, Some(&over), time(292));
        assert_eq!(
            (told.reason, told.note.as_str()),
            (
                "SessionEnded",
                "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 3m12s: its command ended."
            )
        );
        let mut created = Session::new("run", SessionSpec::default());
        created.metadata.namespace = Some("shop".into());
        created.metadata.uid = Some("1".into());
        created.metadata.annotations = Some([(REPORTS.into(), "true".into())].into());
        let run = Reporting::of(&created).unwrap();
        let by = |reason: &str, by: Option<&str>| sessions::Ending {
            reason: reason.into(),
            by: by.map(Into::into),
            at: 1,
        };
        for (how, expected) in [
            (Some(by(COMMAND_ENDED, None)), Some(("SessionEnded", "its command ended."))),
            (
                Some(by("stopped", Some("bob\n"))),
                Some(("SessionStopped", "it was stopped by bob\\n.")),
            ),
            (Some(by(EXPIRED, None)), None),
            (
                Some(by("deleted", None)),
                Some(("SessionEnded", "it was deleted, and who did that is not known.")),
            ),
            (None, Some(("SessionEnded", "it was deleted, and who did that is not known."))),
        ] {
            let told = Told::gone(&run, how.as_ref(), time(5));
            match (&told, expected) {
                (None, None) => {}
                (Some(told), Some((reason, end))) => {
                    assert_eq!(told.reason, reason, "{how:?}");
                    assert!(told.note.ends_with(end), "{how:?}: {}", told.note);
                }
                _ => panic!("{how:?}: {told:?}"),
            }
        }
        let long = Told::refused(&"é".repeat(5000));
        assert!(long.note.len() < 1024);
        let names: Vec<String> = (0..NAMES).map(|n| session_name(&agent.id, n)).collect();
        let taken = Told::names_taken(&"n".repeat(63), &names);
        assert!(taken.note.ends_with(&names[7]) && taken.note.len() < 1024);
    }
}
