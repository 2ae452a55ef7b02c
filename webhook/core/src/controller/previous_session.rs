//! Sessions that ended before their agents were tied to them.
//!
//! An agent is tied to its Session by the write that follows the Session's creation. Whoever
//! creates it sees to that, also if the Session is gone by then. This is for a next leader, which
//! finds an agent that nobody tied, and no Session: it may not have had one yet, or somebody
//! stopped it.

use k8s_openapi::jiff::Timestamp;

use super::{Agent, AgentId, Definition, plan::is_of};
use crate::{
    agents::Binding,
    sessions::{DELETED, STOPPED, Tracker},
};

/// A Session that an agent had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    namespace: String,
    name: String,
    uid: String,
    owner: String,
    target: String,
    /// Seconds since 1970.
    created: Option<i64>,
    /// Somebody deleted it. What the process itself deletes says why.
    stopped: bool,
}

impl Past {
    /// Of a tracker, if it is one of a Session that has ended and that was recorded for this agent,
    /// or that the controller gave to it. Both are the controller's to write alone.
    #[must_use]
    pub fn of(tracker: &Tracker, agent: &Agent) -> Option<Self> {
        let ending = tracker.ending()?;
        let given = tracker.status.agent.as_ref().and_then(AgentId::of);
        let recorded = tracker.recorded_for.as_deref();
        let its = recorded.map_or(given.as_ref() == Some(&agent.id), |text| {
            text.parse().as_ref() == Ok(&agent.id)
        });
        let owner = tracker.spec.owner.as_ref();
        its.then(|| Self {
            namespace: tracker.key.namespace.to_string(),
            name: tracker.key.name.to_string(),
            uid: tracker.uid.clone(),
            owner: owner.map_or_else(String::new, |owner| owner.username.clone()),
            target: tracker.spec.target.clone(),
            created: tracker.created_at,
            stopped: matches!(&*ending.reason, STOPPED | DELETED),
        })
    }

    /// Whether its end was meant to stop the agent: somebody deleted this Session of its owner's,
    /// and it did not go with its definition, of which the present one is a successor then.
    #[must_use]
    pub fn stops(&self, agent: &Agent, definition: &Definition) -> bool {
        let defined = definition.created.map(Timestamp::as_second);
        let survived =
            defined.zip(self.created).is_some_and(|(defined, created)| created > defined);
        self.stopped
            && survived
            && !definition.going
            && !agent.ended
            && is_of(&self.owner, &agent.stamp)
    }

    /// What ties the agent to it now, so that it ends as any agent does whose Session is gone.
    #[must_use]
    pub fn binding(&self, agent: &Agent, definition: &Definition) -> Binding {
        Binding {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            agent: agent.id.uid.clone(),
            definition: definition.uid.clone(),
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
            AGENT, Presence, Step,
            fixtures::{agent, stamp, time},
            next,
        },
        sessions::{EXPIRED, Ending, fixtures::session},
    };

    fn ended(owner: &str, recorded_for: &str, reason: &str) -> Tracker {
        let mut session = session("shop", "487f4f2b6d2376ad").owned_by(owner).session(1);
        session.metadata.creation_timestamp = Some(Time(time(110)));
        let annotations = session.metadata.annotations.get_or_insert_default();
        annotations.insert(AGENT.into(), recorded_for.into());
        let ending = Ending { reason: reason.into(), ..Ending::unknown(120) };
        Tracker::new(&session).unwrap().terminated(&ending, 2).unwrap()
    }

    fn definition(created: i64) -> Definition {
        Definition { uid: "definition".into(), going: false, created: Some(time(created)) }
    }

    #[test]
    fn what_was_meant_to_stop_an_agent() {
        let agent = agent();
        let id = agent.id.to_string();
        let nobody = Agent { stamp: Stamp::Missing, ..agent.clone() };
        let bobs = Agent { stamp: stamp("bob"), ..agent.clone() };
        let over = Agent { ended: true, ..agent.clone() };
        let going = Definition { going: true, ..definition(50) };
        let undated = Definition { created: None, ..definition(50) };
        let unverified = UNVERIFIED_USERNAME;
        let cases = [
            // (name, owner, reason, agent, definition, stops)
            ("stopped", "alice", STOPPED, &agent, definition(50), true),
            ("deleted, by whoever", "alice", DELETED, &agent, definition(50), true),
            ("unverified", unverified, STOPPED, &nobody, definition(50), true),
            ("its agent ended", "alice", "its agent ended", &agent, definition(50), false),
            ("expired", "alice", EXPIRED, &agent, definition(50), false),
            ("of another owner", "alice", STOPPED, &bobs, definition(50), false),
            ("of nobody", "alice", STOPPED, &nobody, definition(50), false),
            ("over", "alice", STOPPED, &over, definition(50), false),
            ("went with its definition", "alice", DELETED, &agent, definition(200), false),
            ("may have gone with it", "alice", DELETED, &agent, definition(110), false),
            ("goes with it", "alice", DELETED, &agent, going, false),
            ("a definition without age", "alice", DELETED, &agent, undated, false),
        ];
        for (name, owner, reason, agent, definition, stops) in cases {
            let past = Past::of(&ended(owner, &id, reason), agent).unwrap();
            assert_eq!(past.stops(agent, &definition), stops, "{name}");
        }
    }

    #[test]
    fn only_its_own() {
        let agent = agent();
        let id = agent.id.to_string();
        let other = id.replace(&agent.id.uid, "other");
        assert!(Past::of(&ended("alice", &id, STOPPED), &agent).is_some());
        for recorded_for in [other.as_str(), "", "nonsense"] {
            let tracker = ended("alice", recorded_for, STOPPED);
            assert_eq!(Past::of(&tracker, &agent), None, "{recorded_for}");
        }
        let live = session("shop", "487f4f2b6d2376ad").owned_by("alice").tracker(1);
        assert_eq!(Past::of(&live, &agent), None, "not over");
    }

    #[test]
    fn tied_to_it_the_agent_is_missing_its_session() {
        let agent = agent();
        let tracker = ended("alice", &agent.id.to_string(), STOPPED);
        let past = Past::of(&tracker, &agent).unwrap();
        let binding = past.binding(&agent, &definition(50));
        assert_eq!((&*binding.uid, &*binding.agent), (&*tracker.uid, &*agent.id.uid));
        let tied = Agent { binding: Some(binding.clone()), ..agent };
        let step = next(&Presence::of(Some(&tied)), &[]);
        assert_eq!(step, Step::Missed(binding));
    }
}
