//! Contents of the Events that the controller records about runs.

use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_crds::SessionId;

use super::{Agent, AgentId, AgentSession, HeartbeatSession, SessionPlan};
use crate::{
    agents::Binding,
    sessions::{AGENT_ENDED, COMMAND_ENDED, EXPIRED, Ending},
    text::printable,
};

/// The type, reason and note of an Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunEvent {
    /// Set for an Event of type `Warning`.
    pub warning: bool,
    /// The reason, for machines.
    pub reason: &'static str,
    /// The note, for people.
    pub note: String,
    /// The note without users and targets.
    pub anonymous_note: String,
}

/// The detail of the notes of Events. Every user with the built-in role `view` reads Events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EventDetail {
    /// Notes name the owner, the target and the user who stopped a session.
    #[default]
    Full,
    /// Notes name the session alone.
    Anonymous,
}

/// The cause of a Session's end.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Cause<'a> {
    /// The agent of the Session ended.
    AgentEnded,
    /// The owner reported that the command of the run ended.
    CommandEnded,
    /// A user deleted the Session, and the controller deleted the agent.
    Stopped(Option<&'a str>),
    /// A user deleted a Session without an agent.
    StoppedWithoutAgent(&'a str),
    /// An unknown client deleted a Session without an agent.
    Deleted,
    /// The reports of the owner stopped.
    Expired,
}

/// The reason of an Event about a run that a user stopped.
const STOPPED: &str = "SessionStopped";
/// The maximum length of a name in a note, because the API server rejects notes over 1,024 bytes.
const MAX_NAME: usize = 120;

impl RunEvent {
    fn new(warning: bool, reason: &'static str, note: String) -> Self {
        Self { warning, reason, anonymous_note: note.clone(), note }
    }

    fn with_anonymous_note(self, anonymous_note: String) -> Self {
        Self { anonymous_note, ..self }
    }

    /// Returns the note in a detail.
    #[must_use]
    pub fn note(&self, detail: EventDetail) -> &str {
        match detail {
            EventDetail::Full => &self.note,
            EventDetail::Anonymous => &self.anonymous_note,
        }
    }

    /// Returns whether the Event reports that a user stopped a run.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.reason == STOPPED
    }

    /// Returns the warnings about an unverified owner and an unresolved target of a new Session.
    #[must_use]
    pub fn for_new_session(plan: &SessionPlan) -> Vec<Self> {
        let unverified = plan.unverified.map(|reason| {
            let note = format!("The owner of this run is not verified: {reason}.");
            Self::new(true, "OwnerUnverified", note)
        });
        let unresolved = plan.unresolved.as_ref().map(|reason| {
            let note = format!("The target of this run is not resolved: {reason}.");
            Self::new(true, "TargetUnresolved", note)
                .with_anonymous_note("The target of this run is not resolved.".into())
        });
        unverified.into_iter().chain(unresolved).collect()
    }

    /// Returns the Event for a Session that was deleted because its agent ended.
    #[must_use]
    pub fn agent_ended(session: &AgentSession, now: Timestamp) -> Self {
        let AgentSession { name, user, target, created_at, .. } = session;
        session_ended(name, user, target, *created_at, &Cause::AgentEnded, now)
    }

    /// Returns the Event for a Session that was deleted because its reports stopped.
    #[must_use]
    pub fn session_expired(session: &HeartbeatSession, now: Timestamp) -> Self {
        let HeartbeatSession { name, user, target, created_at, .. } = session;
        session_ended(name, user, target, *created_at, &Cause::Expired, now)
    }

    /// Returns the Event for a deleted heartbeat Session, given its ending if it is known.
    ///
    /// Returns `None` for an expired Session, which has its own Event.
    #[must_use]
    pub fn session_deleted(
        session: &HeartbeatSession,
        ending: Option<&Ending>,
        now: Timestamp,
    ) -> Option<Self> {
        let reason = ending.map(|ending| &*ending.reason);
        let cause = match (reason, ending.and_then(|ending| ending.by.as_deref())) {
            (Some(EXPIRED), _) => return None,
            (Some(COMMAND_ENDED), _) => Cause::CommandEnded,
            (_, Some(user)) => Cause::StoppedWithoutAgent(user),
            (_, None) => Cause::Deleted,
        };
        let HeartbeatSession { name, user, target, created_at, .. } = session;
        Some(session_ended(name, user, target, *created_at, &cause, now))
    }

    /// Returns the Event for an agent that was deleted with its Session.
    ///
    /// `ending` is the ending of the Session, if it is known.
    #[must_use]
    pub fn agent_deleted(
        agent: &Agent,
        binding: &Binding,
        ending: Option<&Ending>,
        now: Timestamp,
    ) -> Self {
        let cause = match ending {
            Some(ending) if *ending.reason == *COMMAND_ENDED => Cause::CommandEnded,
            ending => Cause::Stopped(ending.and_then(|ending| ending.by.as_deref())),
        };
        let Binding { name, owner, target, .. } = binding;
        session_ended(name, owner, target, agent.created_at, &cause, now)
    }

    /// Returns the warning that deleting a Session cannot stop its ephemeral agent.
    #[must_use]
    pub fn agent_runs_on(agent: &AgentId) -> Self {
        let note = format!(
            "The Session was deleted but its run continues: Kubernetes can't remove ephemeral container {}. \
             Delete pod {} to stop the run.",
            agent.container, agent.name
        );
        Self::new(true, "AgentRunsOn", note)
    }

    /// Returns the warning that an agent still runs although its deletion was accepted.
    #[must_use]
    pub fn agent_not_stopped(agent: &AgentId, seconds: u64) -> Self {
        let note = format!(
            "The Session was deleted but its run continues: the Pods of Job {} are not being deleted {seconds} s \
             after the deletion of the Job was accepted. Delete them to stop the run.",
            agent.name
        );
        Self::new(true, "AgentNotStopped", note)
    }

    /// Returns the warning that the API server rejected the Session of an agent.
    #[must_use]
    pub fn session_refused(reason: &str) -> Self {
        let reason = printable(reason, 240);
        let note =
            format!("This mirrord run has no Session because the API server rejected it: {reason}");
        Self::new(true, "SessionRefused", note).with_anonymous_note(
            "This mirrord run has no Session because the API server rejected it.".into(),
        )
    }

    /// Returns the warning that the API server denied the binding of an agent to its Session.
    #[must_use]
    pub fn agent_not_bound(reason: &str) -> Self {
        let reason = printable(reason, 240);
        let note = format!(
            "The agent is not bound to its Session because the API server denied it: {reason}. Deleting the \
             Session still stops the run, but only while a leader runs."
        );
        Self::new(true, "AgentNotBound", note)
    }

    /// Returns the warning that other users have sessions on the same target.
    ///
    /// The note names no user, because every reader of the Event could see it.
    #[must_use]
    pub fn target_shared(session: &AgentSession) -> Self {
        let target = printable(&session.target, MAX_NAME);
        let note = format!(
            "Another user already has a session on {target}: sessions that take the same traffic interfere \
             with each other. Run kubectl mirrord-sessions list -o wide to see the sessions."
        );
        Self::new(true, "TargetShared", note).with_anonymous_note(
            "Another user already has a session on the same target: sessions that take the same traffic \
             interfere with each other. Run kubectl mirrord-sessions list -o wide to see the sessions."
                .into(),
        )
    }

    /// Returns the warning that Sessions of other users have all names that an agent's can have.
    #[must_use]
    pub fn session_names_taken(namespace: &str, names: &[String]) -> Self {
        let note = format!(
            "This mirrord run has no Session because Sessions of other users have all of its names. \
             Delete one of them in namespace {namespace} to free a name: {}",
            names.join(" ")
        );
        Self::new(true, "SessionNamesTaken", note)
    }
}

fn session_ended(
    name: &str,
    user: &str,
    target: &str,
    started: Option<Timestamp>,
    cause: &Cause<'_>,
    now: Timestamp,
) -> RunEvent {
    let id = name.parse::<SessionId>().map_or_else(|_| name.to_owned(), |id| id.to_string());
    let (user, target) = (printable(user, MAX_NAME), printable(target, MAX_NAME));
    let after = started.map_or_else(String::new, |started| {
        let seconds = now.duration_since(started).as_secs().max(0);
        format!(" after {}", format_duration(seconds.unsigned_abs()))
    });
    let (reason, explanation) = match cause {
        Cause::AgentEnded => ("SessionEnded", AGENT_ENDED.to_owned()),
        Cause::CommandEnded => ("SessionEnded", COMMAND_ENDED.to_owned()),
        Cause::Expired => (
            "SessionExpired",
            "it expired without reports, which does not stop its process".to_owned(),
        ),
        Cause::StoppedWithoutAgent(by) => {
            (STOPPED, format!("it was stopped by {}", printable(by, MAX_NAME)))
        }
        Cause::Deleted => ("SessionEnded", "it was deleted by an unknown client".to_owned()),
        Cause::Stopped(by) => {
            let by = by.map_or_else(String::new, |by| format!(" by {}", printable(by, MAX_NAME)));
            (STOPPED, format!("it was stopped{by} and its agent was deleted"))
        }
    };
    let note = format!("Session {id} of {user} on {target} ended{after}: {explanation}.");
    let explanation = match cause {
        Cause::StoppedWithoutAgent(_) => "it was stopped by a user".to_owned(),
        Cause::Stopped(_) => "it was stopped and its agent was deleted".to_owned(),
        _ => explanation,
    };
    RunEvent::new(false, reason, note)
        .with_anonymous_note(format!("Session {id} ended{after}: {explanation}."))
}

/// Formats a duration with all its units, as `1h2m3s`.
fn format_duration(seconds: u64) -> String {
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
        NAME_CANDIDATES,
        fixtures::{agent, agent_session, binding, time},
        session_name,
    };

    #[test]
    fn formats_notes() {
        let agent = agent();
        let mut session = agent_session("1", &agent, "alice");
        session.name = "487f4f2b6d2376ad".into();
        let event = RunEvent::agent_ended(&session, time(110 + 3723));
        assert_eq!(
            (event.reason, event.note.as_str()),
            (
                "SessionEnded",
                "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 1h2m3s: its agent ended."
            )
        );
        let binding = binding(&agent, &session);
        let bob = Ending::stopped("bob\u{1b}", 292);
        let event = RunEvent::agent_deleted(&agent, &binding, Some(&bob), time(292));
        assert_eq!(
            event.note,
            "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 3m12s: it was stopped by bob\\x1b and its agent was deleted."
        );
        let event = RunEvent::agent_deleted(&agent, &binding, None, time(0));
        assert!(event.note.contains("ended after 0s: it was stopped and"), "{}", event.note);
        let command_ended = Ending { reason: COMMAND_ENDED.into(), by: None, at: 292 };
        let event = RunEvent::agent_deleted(&agent, &binding, Some(&command_ended), time(292));
        assert_eq!(
            (event.reason, event.note.as_str()),
            (
                "SessionEnded",
                "Session 487F4F2B6D2376AD of alice on deployment/ip-visit-counter ended after 3m12s: its command ended."
            )
        );
        let mut created = Session::new("run", SessionSpec::default());
        created.metadata.namespace = Some("shop".into());
        created.metadata.uid = Some("1".into());
        created.metadata.annotations = Some([(REPORTS.into(), "true".into())].into());
        let run = HeartbeatSession::from_session(&created).unwrap();
        let ending = |reason: &str, by: Option<&str>| Ending {
            reason: reason.into(),
            by: by.map(Into::into),
            at: 1,
        };
        for (ending, expected) in [
            (Some(ending(COMMAND_ENDED, None)), Some(("SessionEnded", "its command ended."))),
            (
                Some(ending("stopped", Some("bob\n"))),
                Some(("SessionStopped", "it was stopped by bob\\n.")),
            ),
            (Some(ending(EXPIRED, None)), None),
            (
                Some(ending("deleted", None)),
                Some(("SessionEnded", "it was deleted by an unknown client.")),
            ),
            (None, Some(("SessionEnded", "it was deleted by an unknown client."))),
        ] {
            let event = RunEvent::session_deleted(&run, ending.as_ref(), time(5));
            match (&event, expected) {
                (None, None) => {}
                (Some(event), Some((reason, end))) => {
                    assert_eq!(event.reason, reason, "{ending:?}");
                    assert!(event.note.ends_with(end), "{ending:?}: {}", event.note);
                }
                _ => panic!("{ending:?}: {event:?}"),
            }
        }
        let bob = Ending::stopped("bob", 292);
        let stopped = RunEvent::agent_deleted(&agent, &binding, Some(&bob), time(292));
        let without_agent = RunEvent::session_deleted(&run, Some(&bob), time(5)).unwrap();
        let refused = RunEvent::session_refused("bob may not");
        let shared = RunEvent::target_shared(&session);
        for (event, anonymous) in [
            (
                &stopped,
                "Session 487F4F2B6D2376AD ended after 3m12s: it was stopped and its agent was deleted.",
            ),
            (&without_agent, "Session run ended: it was stopped by a user."),
            (&refused, "This mirrord run has no Session because the API server rejected it."),
            (&shared, "Another user already has a session on the same target:"),
        ] {
            assert_eq!(event.note(EventDetail::Full), event.note);
            let note = event.note(EventDetail::Anonymous);
            assert!(note.starts_with(anonymous), "{note}");
            let names = ["alice", "bob", "ip-visit-counter"];
            assert!(names.iter().all(|name| !note.contains(name)), "{note}");
        }
        let long = RunEvent::session_refused(&"é".repeat(5000));
        assert!(long.note.len() < 1024);
        let names: Vec<String> = (0..NAME_CANDIDATES).map(|n| session_name(&agent.id, n)).collect();
        let taken = RunEvent::session_names_taken(&"n".repeat(63), &names);
        assert!(taken.note.ends_with(&names[7]) && taken.note.len() < 1024);
    }
}
