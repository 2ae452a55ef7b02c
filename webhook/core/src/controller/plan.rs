//! The next write to make for one agent.

use mirrord_sessions_crds::UNVERIFIED_USERNAME;

use super::{Agent, AgentKind, AgentPhase, AgentSession, Deletion, SessionCrd};
use crate::agents::{Binding, Stamp};

/// The state of an agent according to the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AgentState {
    /// The agent runs or is about to start.
    Running(Box<Agent>, AgentPhase),
    /// The agent ended, or its Pods are being deleted.
    Ended,
    /// The agent is not in the cache. The cache may lag behind.
    Unobserved,
}

/// The next write to make for an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Plan {
    /// Nothing is left to do.
    Nothing,
    /// Create a Session for the agent.
    CreateSession,
    /// Write the status of the Session, which the API server drops on create, or its state.
    WriteStatus(AgentSession),
    /// Write the binding to its Session on the agent Job.
    BindAgent(AgentSession),
    /// Delete the agent with its Pods: its Session or its Job is being deleted.
    DeleteAgent(Binding),
    /// Find out why the Session named by the binding is missing.
    ResolveMissingSession(Binding),
    /// Find out whether the unobserved agent of this Session ended.
    VerifyAgentGone(AgentSession),
    /// Delete the Session because its agent ended.
    DeleteSession(AgentSession),
    /// Delete the Session because its agent has an older one.
    DeleteDuplicate(AgentSession),
    /// Remove the agent from the status of a Session that its owner created and will delete.
    ///
    /// The agent ended or has an older Session.
    UnbindAgent(AgentSession),
}

impl Plan {
    fn for_ended_agent(session: AgentSession) -> Self {
        match session {
            AgentSession { deleting: true, .. } => Self::Nothing,
            AgentSession { adopted: true, .. } => Self::UnbindAgent(session),
            _ => Self::DeleteSession(session),
        }
    }
}

impl AgentState {
    /// Returns the state of an agent as it is in the cache, with its phase; `None` if all of its
    /// Pods ended.
    #[must_use]
    pub fn from_observed(agent: Option<&Agent>, phase: Option<AgentPhase>) -> Self {
        match (agent, phase) {
            (None, _) => Self::Unobserved,
            (Some(agent), Some(phase)) if !agent.ended => {
                Self::Running(Box::new(agent.clone()), phase)
            }
            _ => Self::Ended,
        }
    }
}

/// Returns the next write for an agent with these Sessions, which are sorted oldest first.
#[must_use]
pub fn plan(state: &AgentState, sessions: &[AgentSession]) -> Plan {
    let oldest = || sessions.first().cloned();
    let (agent, phase) = match state {
        AgentState::Unobserved => {
            // A Session that is being deleted ends without its agent.
            let session = oldest().filter(|session| !session.deleting);
            return session.map_or(Plan::Nothing, Plan::VerifyAgentGone);
        }
        AgentState::Ended => return oldest().map_or(Plan::Nothing, Plan::for_ended_agent),
        AgentState::Running(agent, phase) => (agent, phase),
    };
    // Ignore Sessions of other owners: any client could create them while no guard was in force.
    let matching = |adopted| {
        sessions.iter().filter(move |session| {
            session.adopted == adopted && owner_matches_stamp(&session.owner, &agent.stamp)
        })
    };
    // Prefer adopted Sessions: the controller must not delete a Session that the owner created.
    let mut matching = matching(true).chain(matching(false));
    let (Some(session), duplicate) = (matching.next(), matching.next()) else {
        return match agent.valid_binding() {
            Some(binding) => Plan::ResolveMissingSession(binding.clone()),
            None => Plan::CreateSession,
        };
    };
    if let Some(duplicate) = duplicate {
        return if duplicate.adopted {
            Plan::UnbindAgent(duplicate.clone())
        } else {
            Plan::DeleteDuplicate(duplicate.clone())
        };
    }
    // Bind before writing the status: deleting the Session of an unbound agent does not stop it.
    let is_bound = agent.valid_binding().is_some_and(|binding| binding.uid == session.uid);
    if agent.id.kind == AgentKind::Job && !is_bound {
        return Plan::BindAgent(session.clone());
    }
    // Without this, a finalizer on the Job or on a dependent of the Session would let the agent run.
    if let Some(binding) = agent.valid_binding()
        && (session.deleting || agent.deletion.is_some())
        && agent.deletion != Some(Deletion::WithPods)
    {
        return Plan::DeleteAgent(binding.clone());
    }
    // The owner of an adopted Session reports its state.
    let is_current = session.adopted || session.phase.as_ref() == Some(phase);
    let is_written = session.status_written && is_current;
    if !session.deleting && !is_written {
        return Plan::WriteStatus(session.clone());
    }
    Plan::Nothing
}

/// The reason for the missing Session of a bound agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MissingReason {
    /// A client deleted the Session, so the agent is deleted too.
    Deleted,
    /// The CRD was deleted and created again, so the agent gets a new Session.
    CrdRecreated,
    /// The reason cannot be determined yet.
    Unknown,
}

/// Returns the reason for which the Session of a binding is missing.
///
/// `listed_uid` is the UID of the Session of that name in a list that succeeded, or `None` if the
/// list has none or if that Session is being deleted.
#[must_use]
pub fn missing_reason(
    binding: &Binding,
    crd: Option<&SessionCrd>,
    listed_uid: Option<&str>,
) -> MissingReason {
    match crd {
        // Deleting the CRD deletes its Sessions, which is no request to stop their runs.
        None | Some(SessionCrd { deleting: true, .. }) => MissingReason::Unknown,
        Some(crd) if crd.uid != binding.crd_uid => MissingReason::CrdRecreated,
        Some(_) if listed_uid == Some(binding.uid.as_str()) => MissingReason::Unknown,
        Some(_) => MissingReason::Deleted,
    }
}

/// Returns whether an agent that was just read may be deleted for the deleted Session.
///
/// The binding must be unchanged and written on this very agent, and the stamp must name the owner
/// of the Session.
#[must_use]
pub fn may_delete_agent(agent: &Agent, binding: &Binding) -> bool {
    !agent.ended
        && agent.valid_binding() == Some(binding)
        && owner_matches_stamp(&binding.owner, &agent.stamp)
}

/// Returns whether an agent that was just read may be deleted for the deleted Session, without the
/// binding on it.
///
/// The binding was denied, so the caller must know by the UIDs that the agent had this Session.
#[must_use]
pub fn may_delete_unbound_agent(agent: &Agent, binding: &Binding) -> bool {
    !agent.ended
        && agent.valid_binding().is_none_or(|found| found == binding)
        && agent.id.uid == binding.agent_uid
        && owner_matches_stamp(&binding.owner, &agent.stamp)
}

/// Returns whether a Session with this owner can belong to an agent with this stamp.
///
/// A Session of an unverified owner matches every stamp, because the stamp may not have been
/// trusted when the Session was created.
pub(crate) fn owner_matches_stamp(owner: &str, stamp: &Stamp) -> bool {
    owner == UNVERIFIED_USERNAME
        || matches!(stamp, Stamp::Requester(requester) if requester.username == owner)
}

#[cfg(test)]
// The tables have one row per case.
#[allow(clippy::too_many_lines)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{agent, agent_session, binding, ephemeral, stamp};

    fn running(agent: &Agent) -> AgentState {
        AgentState::from_observed(Some(agent), Some(AgentPhase::Running))
    }

    #[test]
    fn plans_next_write() {
        let agent = agent();
        let session = agent_session("1", &agent, "alice");
        let second = agent_session("2", &agent, "alice");
        let without_status = AgentSession { status_written: false, ..session.clone() };
        let forged = agent_session("3", &agent, "mallory");
        let unverified = agent_session("4", &agent, UNVERIFIED_USERNAME);
        let bound = Agent { binding: Some(binding(&agent, &session)), ..agent.clone() };
        let copied = Agent {
            binding: Some(Binding { agent_uid: "another".into(), ..binding(&agent, &session) }),
            ..agent.clone()
        };
        let adopted = AgentSession { adopted: true, ..agent_session("6", &agent, "alice") };
        let second_adopted = AgentSession { adopted: true, ..agent_session("7", &agent, "alice") };
        let ended = Agent { ended: true, ..bound.clone() };
        let deleting = Agent { deletion: Some(Deletion::JobOnly), ..bound.clone() };
        let deleting_pods = Agent { deletion: Some(Deletion::WithPods), ..deleting.clone() };
        let stopping = AgentSession { deleting: true, ..session.clone() };
        let wait = || AgentPhase::Pending("its Pod is starting".into());
        let waiting = AgentSession { phase: Some(wait()), ..session.clone() };
        let pending = |agent: &Agent| AgentState::from_observed(Some(agent), Some(wait()));
        let gone = |agent: &Agent| AgentState::from_observed(Some(agent), None);
        let bound_adopted = Agent { binding: Some(binding(&agent, &adopted)), ..agent.clone() };
        let unstamped = Agent { stamp: Stamp::Missing, ..agent.clone() };
        let in_pod = ephemeral();
        let ephemeral_session = agent_session("5", &in_pod, "alice");
        let ephemeral_without_status =
            AgentSession { status_written: false, ..ephemeral_session.clone() };
        let only = |session: &AgentSession| vec![session.clone()];
        let cases = [
            ("new agent", running(&agent), vec![], Plan::CreateSession),
            (
                "Session created",
                running(&agent),
                only(&without_status),
                Plan::BindAgent(without_status.clone()),
            ),
            (
                "bound, status not written",
                running(&bound),
                only(&without_status),
                Plan::WriteStatus(without_status.clone()),
            ),
            (
                "status written but not bound, by an earlier release",
                running(&agent),
                only(&session),
                Plan::BindAgent(session.clone()),
            ),
            (
                "ephemeral, Session created",
                running(&in_pod),
                only(&ephemeral_without_status),
                Plan::WriteStatus(ephemeral_without_status.clone()),
            ),
            ("bound", running(&bound), only(&session), Plan::Nothing),
            (
                "bound, Session missing",
                running(&bound),
                vec![],
                Plan::ResolveMissingSession(binding(&agent, &session)),
            ),
            (
                "bound to a previous Session",
                running(&bound),
                only(&second),
                Plan::BindAgent(second.clone()),
            ),
            (
                "duplicate Session",
                running(&bound),
                vec![session.clone(), second.clone()],
                Plan::DeleteDuplicate(second),
            ),
            ("binding copied from another agent", running(&copied), vec![], Plan::CreateSession),
            ("Session of another owner", running(&agent), only(&forged), Plan::CreateSession),
            (
                "Session of an unverified owner",
                running(&agent),
                only(&unverified),
                Plan::BindAgent(unverified.clone()),
            ),
            (
                "no stamp, unverified owner",
                running(&unstamped),
                only(&unverified),
                Plan::BindAgent(unverified),
            ),
            (
                "no stamp, Session of a verified owner",
                running(&unstamped),
                only(&session),
                Plan::CreateSession,
            ),
            ("ended", running(&ended), only(&session), Plan::DeleteSession(session.clone())),
            ("all Pods ended", gone(&bound), only(&session), Plan::DeleteSession(session.clone())),
            ("all Pods ended, Session deleted", gone(&bound), only(&stopping), Plan::Nothing),
            ("unobserved, Session deleted", AgentState::Unobserved, only(&stopping), Plan::Nothing),
            (
                "Session is being deleted",
                running(&bound),
                only(&stopping),
                Plan::DeleteAgent(binding(&agent, &session)),
            ),
            (
                "Session is being deleted, not bound",
                running(&agent),
                only(&stopping),
                Plan::BindAgent(stopping.clone()),
            ),
            (
                "agent and Session are being deleted",
                running(&deleting_pods),
                only(&stopping),
                Plan::Nothing,
            ),
            (
                "Job is being deleted, its Pod runs",
                running(&deleting),
                only(&session),
                Plan::DeleteAgent(binding(&agent, &session)),
            ),
            (
                "Job and Pods are being deleted",
                running(&deleting_pods),
                only(&session),
                Plan::Nothing,
            ),
            ("pending, as recorded", pending(&bound), only(&waiting), Plan::Nothing),
            ("pending", pending(&bound), only(&session), Plan::WriteStatus(session.clone())),
            ("runs since", running(&bound), only(&waiting), Plan::WriteStatus(waiting.clone())),
            ("pending, adopted", pending(&bound_adopted), only(&adopted), Plan::Nothing),
            ("adopted Session", running(&agent), only(&adopted), Plan::BindAgent(adopted.clone())),
            (
                "adopted Session is not the duplicate",
                running(&agent),
                vec![session.clone(), adopted.clone()],
                Plan::DeleteDuplicate(session.clone()),
            ),
            (
                "two adopted Sessions",
                running(&agent),
                vec![adopted.clone(), second_adopted.clone()],
                Plan::UnbindAgent(second_adopted),
            ),
            (
                "ended, adopted Session stays",
                running(&ended),
                only(&adopted),
                Plan::UnbindAgent(adopted.clone()),
            ),
            (
                "unobserved, adopted Session",
                AgentState::Unobserved,
                only(&adopted),
                Plan::VerifyAgentGone(adopted),
            ),
            ("ended, Session deleted", running(&ended), vec![], Plan::Nothing),
            (
                "ended before the status was written",
                running(&ended),
                only(&without_status),
                Plan::DeleteSession(without_status),
            ),
            ("unobserved", AgentState::Unobserved, only(&session), Plan::VerifyAgentGone(session)),
            ("unobserved without Sessions", AgentState::Unobserved, vec![], Plan::Nothing),
            ("ephemeral, never bound", running(&in_pod), only(&ephemeral_session), Plan::Nothing),
            ("ephemeral, its Session deleted", running(&in_pod), vec![], Plan::CreateSession),
        ];
        for (name, state, sessions, expected) in cases {
            assert_eq!(plan(&state, &sessions), expected, "{name}");
        }
    }

    #[test]
    fn determines_missing_reason() {
        let agent = agent();
        let binding = binding(&agent, &agent_session("1", &agent, "alice"));
        let crd =
            |uid: &str, deleting| Some(SessionCrd { uid: uid.into(), deleting, created_at: None });
        let cases = [
            // (crd, listed UID, expected)
            (crd("crd", false), None, MissingReason::Deleted),
            (crd("crd", false), Some("2"), MissingReason::Deleted),
            (crd("crd", false), Some("1"), MissingReason::Unknown),
            (crd("crd", true), None, MissingReason::Unknown),
            (None, None, MissingReason::Unknown),
            (crd("another", false), None, MissingReason::CrdRecreated),
            (crd("another", true), None, MissingReason::Unknown),
        ];
        for (crd, listed, expected) in cases {
            let found = missing_reason(&binding, crd.as_ref(), listed);
            assert_eq!(found, expected, "{crd:?} {listed:?}");
        }
    }

    #[test]
    fn deletes_only_bound_agent() {
        let agent = agent();
        let session = agent_session("1", &agent, "alice");
        let bound_to = binding(&agent, &session);
        let bound = |binding: Binding| Agent { binding: Some(binding), ..agent.clone() };
        assert!(may_delete_agent(&bound(bound_to.clone()), &bound_to));
        assert!(!may_delete_agent(&agent, &bound_to), "without a binding");
        let other = binding(&agent, &agent_session("2", &agent, "alice"));
        assert!(!may_delete_agent(&bound(other), &bound_to), "bound to another Session");
        let mut copy = bound(bound_to.clone());
        copy.id.uid = "another".into();
        assert!(!may_delete_agent(&copy, &bound_to), "binding copied from another Job");
        let mut other_owner = bound(bound_to.clone());
        other_owner.stamp = stamp("mallory");
        assert!(!may_delete_agent(&other_owner, &bound_to), "stamp of another user");
        other_owner.stamp = Stamp::Missing;
        assert!(!may_delete_agent(&other_owner, &bound_to), "without a stamp");
        let unverified = binding(&agent, &agent_session("1", &agent, UNVERIFIED_USERNAME));
        let mut unstamped = bound(unverified.clone());
        unstamped.stamp = Stamp::Missing;
        assert!(may_delete_agent(&unstamped, &unverified));
        let mut ended = bound(bound_to.clone());
        ended.ended = true;
        assert!(!may_delete_agent(&ended, &bound_to), "ended");
    }

    #[test]
    fn deletes_unbound_agent_only_with_its_own_session() {
        let agent = agent();
        let session = agent_session("1", &agent, "alice");
        let remembered = binding(&agent, &session);
        let with = |change: &dyn Fn(&mut Agent)| {
            let mut agent = agent.clone();
            change(&mut agent);
            agent
        };
        let other = binding(&agent, &agent_session("2", &agent, "alice"));
        for (name, agent, expected) in [
            ("unbound", agent.clone(), true),
            ("bound by now", with(&|agent| agent.binding = Some(remembered.clone())), true),
            ("bound to another", with(&|agent| agent.binding = Some(other.clone())), false),
            ("another agent", with(&|agent| agent.id.uid = "another".into()), false),
            ("another owner", with(&|agent| agent.stamp = stamp("mallory")), false),
            ("without a stamp", with(&|agent| agent.stamp = Stamp::Missing), false),
            ("ended", with(&|agent| agent.ended = true), false),
        ] {
            assert_eq!(may_delete_unbound_agent(&agent, &remembered), expected, "{name}");
        }
    }
}
