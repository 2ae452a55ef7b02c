//! Sessions that ended before their agents were bound to them.
//!
//! The controller creates a Session and then binds the agent to it with a second write. The replica
//! that created the Session completes the binding even if the Session is deleted in between. A new
//! leader, however, may find an agent without a binding and without a Session. A
//! [`PreviousSession`] distinguishes an agent whose Session was deleted from an agent that never
//! had one.

use k8s_openapi::jiff::Timestamp;

use super::{Agent, AgentId, SessionCrd, plan::owner_matches_stamp};
use crate::{
    agents::Binding,
    sessions::{DELETED, STOPPED, Tracker},
};

/// An ended Session of an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreviousSession {
    namespace: String,
    name: String,
    uid: String,
    owner: String,
    target: String,
    /// Creation time in seconds since 1970.
    created_at: Option<i64>,
    /// Set if a client deleted the Session. The controller records a reason for its own deletions.
    deleted_by_client: bool,
}

impl PreviousSession {
    /// Returns the Session of a tracker if it has ended and belonged to this agent.
    ///
    /// Either the annotation or the status ties a Session to its agent. Only the controller can
    /// write them.
    #[must_use]
    pub fn from_tracker(tracker: &Tracker, agent: &Agent) -> Option<Self> {
        let ending = tracker.ending()?;
        let status_agent = tracker.status.agent.as_ref().and_then(AgentId::from_reference);
        let belongs_to_agent = match tracker.recorded_for.as_deref() {
            Some(annotation) => annotation.parse().as_ref() == Ok(&agent.id),
            None => status_agent.as_ref() == Some(&agent.id),
        };
        let owner = tracker.spec.owner.as_ref();
        belongs_to_agent.then(|| Self {
            namespace: tracker.key.namespace.to_string(),
            name: tracker.key.name.to_string(),
            uid: tracker.uid.clone(),
            owner: owner.map_or_else(String::new, |owner| owner.username.clone()),
            target: tracker.spec.target.clone(),
            created_at: tracker.created_at,
            deleted_by_client: matches!(&*ending.reason, STOPPED | DELETED),
        })
    }

    /// Returns whether the deletion of this Session must stop the agent.
    ///
    /// A client must have deleted the Session, and the owner must match the stamp of the agent. The
    /// Session must be younger than the CRD: an older one was deleted with a previous CRD.
    #[must_use]
    pub fn stops(&self, agent: &Agent, crd: &SessionCrd) -> bool {
        let crd_created_at = crd.created_at.map(Timestamp::as_second);
        let is_younger_than_crd =
            crd_created_at.zip(self.created_at).is_some_and(|(crd, session)| session > crd);
        self.deleted_by_client
            && is_younger_than_crd
            && !crd.deleting
            && !agent.ended
            && owner_matches_stamp(&self.owner, &agent.stamp)
    }

    /// Returns the binding to write on the agent.
    ///
    /// The next plan then finds the Session missing and deletes the agent.
    #[must_use]
    pub fn binding(&self, agent: &Agent, crd: &SessionCrd) -> Binding {
        Binding {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            agent_uid: agent.id.uid.clone(),
            crd_uid: crd.uid.clone(),
            owner: self.owner.clone(),
            target: self.target.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use mirrord_sessions_crds::UNVERIFIED_USERNAME;

    use super::*;
    use crate::{
        agents::Stamp,
        controller::{
            AgentPhase, AgentState, Plan,
            fixtures::{agent, stamp, time},
            plan,
        },
        sessions::{EXPIRED, Ending, fixtures::session, tracker::AGENT_ANNOTATION},
    };

    fn ended(owner: &str, recorded_for: &str, reason: &str) -> Tracker {
        let mut session = session("shop", "487f4f2b6d2376ad").owned_by(owner).session(1);
        session.metadata.creation_timestamp = Some(Time(time(110)));
        let annotations = session.metadata.annotations.get_or_insert_default();
        annotations.insert(AGENT_ANNOTATION.into(), recorded_for.into());
        let ending = Ending { reason: reason.into(), ..Ending::unknown(120) };
        Tracker::new(&session).unwrap().terminated(&ending, 2).unwrap()
    }

    fn crd(created_at: i64) -> SessionCrd {
        SessionCrd { uid: "crd".into(), deleting: false, created_at: Some(time(created_at)) }
    }

    #[test]
    fn decides_whether_deletion_stops_agent() {
        let agent = agent();
        let id = agent.id.to_string();
        let unstamped = Agent { stamp: Stamp::Missing, ..agent.clone() };
        let bobs = Agent { stamp: stamp("bob"), ..agent.clone() };
        let ended_agent = Agent { ended: true, ..agent.clone() };
        let deleting = SessionCrd { deleting: true, ..crd(50) };
        let undated = SessionCrd { created_at: None, ..crd(50) };
        let unverified = UNVERIFIED_USERNAME;
        let cases = [
            // (name, owner, reason, agent, crd, stops)
            ("stopped", "alice", STOPPED, &agent, crd(50), true),
            ("deleted by an unknown client", "alice", DELETED, &agent, crd(50), true),
            ("unverified", unverified, STOPPED, &unstamped, crd(50), true),
            ("its agent ended", "alice", "its agent ended", &agent, crd(50), false),
            ("expired", "alice", EXPIRED, &agent, crd(50), false),
            ("owner and stamp differ", "alice", STOPPED, &bobs, crd(50), false),
            ("agent without a stamp", "alice", STOPPED, &unstamped, crd(50), false),
            ("agent already ended", "alice", STOPPED, &ended_agent, crd(50), false),
            ("older than the CRD", "alice", DELETED, &agent, crd(200), false),
            ("as old as the CRD", "alice", DELETED, &agent, crd(110), false),
            ("CRD being deleted", "alice", DELETED, &agent, deleting, false),
            ("CRD without a creation time", "alice", DELETED, &agent, undated, false),
        ];
        for (name, owner, reason, agent, crd, stops) in cases {
            let previous =
                PreviousSession::from_tracker(&ended(owner, &id, reason), agent).unwrap();
            assert_eq!(previous.stops(agent, &crd), stops, "{name}");
        }
    }

    #[test]
    fn ignores_sessions_of_other_agents() {
        let agent = agent();
        let id = agent.id.to_string();
        let other = id.replace(&agent.id.uid, "other");
        assert!(PreviousSession::from_tracker(&ended("alice", &id, STOPPED), &agent).is_some());
        for recorded_for in [other.as_str(), "", "nonsense"] {
            let tracker = ended("alice", recorded_for, STOPPED);
            assert_eq!(PreviousSession::from_tracker(&tracker, &agent), None, "{recorded_for}");
        }
        let live = session("shop", "487f4f2b6d2376ad").owned_by("alice").tracker(1);
        assert_eq!(PreviousSession::from_tracker(&live, &agent), None, "live Session");
    }

    #[test]
    fn binding_to_previous_session_leads_to_missing_session() {
        let agent = agent();
        let tracker = ended("alice", &agent.id.to_string(), STOPPED);
        let previous = PreviousSession::from_tracker(&tracker, &agent).unwrap();
        let binding = previous.binding(&agent, &crd(50));
        assert_eq!((&*binding.uid, &*binding.agent_uid), (&*tracker.uid, &*agent.id.uid));
        let bound = Agent { binding: Some(binding.clone()), ..agent };
        let next = plan(&AgentState::from_observed(Some(&bound), Some(AgentPhase::Running)), &[]);
        assert_eq!(next, Plan::ResolveMissingSession(binding));
    }
}
