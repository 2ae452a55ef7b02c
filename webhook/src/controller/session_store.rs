//! Adapter of the session store to the interfaces of the controller.

use mirrord_sessions_core::{
    controller::{
        Agent, AgentSession, DeleteReasons, HeartbeatSession, PreviousSession, SessionQueries,
        Target, session_names,
    },
    sessions::{AGENT_ENDED, EXPIRED, Ending, TrackerKey, concurrent_sessions},
};

use crate::sessions::Store;

impl DeleteReasons for Store {
    fn record_agent_ended(&self, session: &AgentSession) {
        self.announce_deletion(
            &tracker_key(&session.namespace, &session.name),
            &session.uid,
            AGENT_ENDED,
            None,
        );
    }

    fn record_duplicate(&self, session: &AgentSession) {
        self.announce_deletion(
            &tracker_key(&session.namespace, &session.name),
            &session.uid,
            "its agent has an older one",
            None,
        );
    }

    fn record_expired(&self, session: &HeartbeatSession) {
        self.announce_deletion(
            &tracker_key(&session.namespace, &session.name),
            &session.uid,
            EXPIRED,
            None,
        );
    }

    fn retract_expired(&self, session: &HeartbeatSession) {
        self.withdraw_deletion(&session.uid, EXPIRED);
    }

    fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<Ending> {
        if self.retention_seconds().is_none() {
            return Some(self.pending_ending(uid)).filter(Ending::is_known);
        }
        let key = tracker_key(namespace, name);
        let index = self.index();
        let tracker = index.get(&key).filter(|tracker| tracker.uid == uid)?;
        // A Session that waits for a finalizer has not ended yet.
        let ending = tracker.ending().unwrap_or_else(|| self.pending_ending(uid));
        Some(ending).filter(Ending::is_known)
    }

    fn are_replicated(&self) -> bool {
        self.retention_seconds().is_some()
    }
}

impl SessionQueries for Store {
    fn previous_session(&self, agent: &Agent) -> Option<PreviousSession> {
        let names = session_names(agent);
        let index = self.index();
        index
            .ended_with_names(&names)
            .find_map(|tracker| PreviousSession::from_tracker(tracker, agent))
    }

    fn is_target_shared(&self, session: &AgentSession, target: &Target) -> bool {
        let index = self.index();
        let trackers = index.in_namespace(&session.namespace).map(AsRef::as_ref);
        concurrent_sessions::on_target(trackers, &target.paths(), &session.owner)
            .any(|tracker| tracker.uid != session.uid)
    }

    fn is_synced(&self) -> bool {
        // Without retention there are no ended sessions to wait for.
        self.retention_seconds().is_none() || self.index().is_synced()
    }
}

fn tracker_key(namespace: &str, name: &str) -> TrackerKey {
    TrackerKey { namespace: namespace.into(), name: name.into() }
}
