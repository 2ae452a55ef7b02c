//! What to do next about one agent.

use mirrord_sessions_crds::UNVERIFIED_USERNAME;

use super::{Agent, AgentKind, Definition, Recorded};
use crate::agents::{Binding, Stamp};

/// Whether an agent is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It runs, or is about to.
    Running(Box<Agent>),
    /// It is over.
    Ended,
    /// It isn't seen. Nobody may have looked.
    Unseen,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Create the Session.
    Record,
    /// Write the Session's status.
    Report(Recorded),
    /// Tie the agent to its Session.
    Bind(Recorded),
    /// The Session that the agent is tied to isn't seen: find out why.
    Missed(Binding),
    /// The agent of this Session isn't seen: find out whether it is over.
    Confirm(Recorded),
    /// Delete the Session, since its agent is over.
    Close(Recorded),
    /// Delete the Session, since its agent has an older one.
    Drop(Recorded),
    /// Untie the Session from its agent, which is over or has an older one: it is its owner's to
    /// delete.
    Release(Recorded),
}

impl Step {
    /// The agent of this Session is over.
    fn over(session: Recorded) -> Self {
        if session.adopted { Self::Release(session) } else { Self::Close(session) }
    }
}

impl Presence {
    /// Of an agent as it was seen.
    #[must_use]
    pub fn of(agent: Option<&Agent>) -> Self {
        match agent {
            None => Self::Unseen,
            Some(agent) if agent.ended => Self::Ended,
            Some(agent) => Self::Running(Box::new(agent.clone())),
        }
    }
}

/// What to do about an agent with these Sessions, the oldest first.
#[must_use]
pub fn next(presence: &Presence, sessions: &[Recorded]) -> Step {
    let first = || sessions.first().cloned();
    let agent = match presence {
        Presence::Unseen => return first().map_or(Step::Rest, Step::Confirm),
        Presence::Ended => return first().map_or(Step::Rest, Step::over),
        Presence::Running(agent) => agent,
    };
    // One of another owner is a stranger's, from when no guard was in force.
    let own = |adopted| {
        sessions.iter().filter(move |session| {
            session.adopted == adopted && is_of(&session.owner, &agent.stamp)
        })
    };
    // What its owner created is never the one to be dropped.
    let mut own = own(true).chain(own(false));
    let (Some(session), second) = (own.next(), own.next()) else {
        return match agent.bound() {
            Some(binding) => Step::Missed(binding.clone()),
            None => Step::Record,
        };
    };
    if let Some(second) = second {
        return if second.adopted {
            Step::Release(second.clone())
        } else {
            Step::Drop(second.clone())
        };
    }
    // As early as can be: a Session that goes before its agent is tied to it stops nothing by
    // itself.
    let bound = agent.bound().is_some_and(|binding| binding.uid == session.uid);
    if agent.id.kind == AgentKind::Job && !bound {
        return Step::Bind(session.clone());
    }
    if !session.reported {
        return Step::Report(session.clone());
    }
    Step::Rest
}

/// Why a Session that an agent is tied to isn't seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// Somebody deleted it: the agent goes too.
    Stopped,
    /// It went with its definition, which is there again: it gets another.
    Forgotten,
    /// It can't be known yet.
    Unknown,
}

/// Why a Session isn't seen, if the definition is this and a list that succeeded holds a Session of
/// its name with this identifier, or none.
#[must_use]
pub fn when_lost(binding: &Binding, definition: Option<&Definition>, listed: Option<&str>) -> Lost {
    match definition {
        // Sessions go with their definition, and nobody stopped them.
        None | Some(Definition { going: true, .. }) => Lost::Unknown,
        Some(definition) if definition.uid != binding.definition => Lost::Forgotten,
        Some(_) if listed == Some(binding.uid.as_str()) => Lost::Unknown,
        Some(_) => Lost::Stopped,
    }
}

/// Whether an agent, read just now, is the one that was tied to the Session: its binding was
/// written on it, unchanged, and its stamp is the Session's owner.
#[must_use]
pub fn may_stop(agent: &Agent, binding: &Binding) -> bool {
    !agent.ended && agent.bound() == Some(binding) && is_of(&binding.owner, &agent.stamp)
}

/// Whether a Session of this owner may be the one of an agent with this stamp. A true stamp may not
/// have been believed.
pub(crate) fn is_of(owner: &str, stamp: &Stamp) -> bool {
    owner == UNVERIFIED_USERNAME || matches!(stamp, Stamp::Of(stamp) if stamp.username == owner)
}

#[cfg(test)]
// One row a case, with its name.
#[allow(clippy::too_many_lines)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{agent, binding, ephemeral, recorded, stamp};

    fn running(agent: &Agent) -> Presence {
        Presence::of(Some(agent))
    }

    #[test]
    fn steps() {
        let agent = agent();
        let session = recorded("1", &agent, "alice");
        let second = recorded("2", &agent, "alice");
        let silent = Recorded { reported: false, ..session.clone() };
        let forged = recorded("3", &agent, "mallory");
        let unverified = recorded("4", &agent, UNVERIFIED_USERNAME);
        let bound = Agent { binding: Some(binding(&agent, &session)), ..agent.clone() };
        let copied = Agent {
            binding: Some(Binding { agent: "another".into(), ..binding(&agent, &session) }),
            ..agent.clone()
        };
        let wrapped = Recorded { adopted: true, ..recorded("6", &agent, "alice") };
        let rewrapped = Recorded { adopted: true, ..recorded("7", &agent, "alice") };
        let ended = Agent { ended: true, ..bound.clone() };
        let unstamped = Agent { stamp: Stamp::Missing, ..agent.clone() };
        let in_pod = ephemeral();
        let in_pods_session = recorded("5", &in_pod, "alice");
        let in_pods_silent = Recorded { reported: false, ..in_pods_session.clone() };
        let s = |session: &Recorded| vec![session.clone()];
        let cases = [
            ("new", running(&agent), vec![], Step::Record),
            ("created", running(&agent), s(&silent), Step::Bind(silent.clone())),
            (
                "bound before its status is written",
                running(&bound),
                s(&silent),
                Step::Report(silent.clone()),
            ),
            (
                "reported and not bound, by an earlier release",
                running(&agent),
                s(&session),
                Step::Bind(session.clone()),
            ),
            (
                "ephemeral, created",
                running(&in_pod),
                s(&in_pods_silent),
                Step::Report(in_pods_silent.clone()),
            ),
            ("bound", running(&bound), s(&session), Step::Rest),
            (
                "bound to one that isn't seen",
                running(&bound),
                vec![],
                Step::Missed(binding(&agent, &session)),
            ),
            ("recorded again", running(&bound), s(&second), Step::Bind(second.clone())),
            ("twice", running(&bound), vec![session.clone(), second.clone()], Step::Drop(second)),
            ("a copied binding", running(&copied), vec![], Step::Record),
            ("a stranger's Session", running(&agent), s(&forged), Step::Record),
            (
                "a Session nobody is shown for",
                running(&agent),
                s(&unverified),
                Step::Bind(unverified.clone()),
            ),
            ("no stamp", running(&unstamped), s(&unverified), Step::Bind(unverified)),
            ("no stamp, and somebody's Session", running(&unstamped), s(&session), Step::Record),
            ("over", running(&ended), s(&session), Step::Close(session.clone())),
            ("its wrapper's Session", running(&agent), s(&wrapped), Step::Bind(wrapped.clone())),
            (
                "its wrapper's Session is not dropped",
                running(&agent),
                vec![session.clone(), wrapped.clone()],
                Step::Drop(session.clone()),
            ),
            (
                "two of a wrapper's",
                running(&agent),
                vec![wrapped.clone(), rewrapped.clone()],
                Step::Release(rewrapped),
            ),
            (
                "over, and its wrapper's Session stays",
                running(&ended),
                s(&wrapped),
                Step::Release(wrapped.clone()),
            ),
            (
                "its wrapper's Session, and not seen",
                Presence::Unseen,
                s(&wrapped),
                Step::Confirm(wrapped),
            ),
            ("over and closed", running(&ended), vec![], Step::Rest),
            (
                "over before its status was written",
                running(&ended),
                s(&silent),
                Step::Close(silent),
            ),
            ("not seen", Presence::Unseen, s(&session), Step::Confirm(session)),
            ("gone", Presence::Unseen, vec![], Step::Rest),
            ("ephemeral, never bound", running(&in_pod), s(&in_pods_session), Step::Rest),
            ("ephemeral, its Session deleted", running(&in_pod), vec![], Step::Record),
        ];
        for (name, presence, sessions, step) in cases {
            assert_eq!(next(&presence, &sessions), step, "{name}");
        }
    }

    #[test]
    fn reasons_for_a_missing_session() {
        let agent = agent();
        let binding = binding(&agent, &recorded("1", &agent, "alice"));
        let definition =
            |uid: &str, going| Some(Definition { uid: uid.into(), going, created: None });
        let cases = [
            // (definition, listed, why)
            (definition("definition", false), None, Lost::Stopped),
            (definition("definition", false), Some("2"), Lost::Stopped),
            (definition("definition", false), Some("1"), Lost::Unknown),
            (definition("definition", true), None, Lost::Unknown),
            (None, None, Lost::Unknown),
            (definition("another", false), None, Lost::Forgotten),
            (definition("another", true), None, Lost::Unknown),
        ];
        for (definition, listed, why) in cases {
            let found = when_lost(&binding, definition.as_ref(), listed);
            assert_eq!(found, why, "{definition:?} {listed:?}");
        }
    }

    #[test]
    fn only_the_agent_that_was_bound_is_stopped() {
        let agent = agent();
        let session = recorded("1", &agent, "alice");
        let tie = binding(&agent, &session);
        let bound = |binding: Binding| Agent { binding: Some(binding), ..agent.clone() };
        assert!(may_stop(&bound(tie.clone()), &tie));
        assert!(!may_stop(&agent, &tie), "not bound");
        let other = binding(&agent, &recorded("2", &agent, "alice"));
        assert!(!may_stop(&bound(other), &tie), "bound to another");
        let mut copy = bound(tie.clone());
        copy.id.uid = "another".into();
        assert!(!may_stop(&copy, &tie), "a copy");
        let mut stranger = bound(tie.clone());
        stranger.stamp = stamp("mallory");
        assert!(!may_stop(&stranger, &tie), "another's");
        stranger.stamp = Stamp::Missing;
        assert!(!may_stop(&stranger, &tie), "nobody's");
        let unverified = binding(&agent, &recorded("1", &agent, UNVERIFIED_USERNAME));
        let mut unstamped = bound(unverified.clone());
        unstamped.stamp = Stamp::Missing;
        assert!(may_stop(&unstamped, &unverified));
        let mut ended = bound(tie.clone());
        ended.ended = true;
        assert!(!may_stop(&ended, &tie), "over");
    }
}
