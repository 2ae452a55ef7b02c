//! What the controller reads from the session store and reports to it.

use mirrord_sessions_core::{
    controller::{Agent, Endings, Past, Recorded, Reporting, Target, session_names},
    sessions::{AGENT_ENDED, EXPIRED, Ending, TrackerKey, concurrent_sessions},
};

use crate::sessions::Store;

impl Endings for Store {
    fn over(&self, session: &Recorded) {
        self.announce_deletion(&session.uid, AGENT_ENDED, None);
    }

    fn doubled(&self, session: &Recorded) {
        self.announce_deletion(&session.uid, "its agent has an older one", None);
    }

    fn expired(&self, session: &Reporting) {
        self.announce_deletion(&session.uid, EXPIRED, None);
    }

    fn spared(&self, session: &Reporting) {
        self.withdraw_deletion(&session.uid, EXPIRED);
    }

    fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<Ending> {
        if self.retention_seconds().is_none() {
            return Some(self.pending_ending(uid)).filter(Ending::is_known);
        }
        let key = TrackerKey { namespace: namespace.into(), name: name.into() };
        let index = self.index();
        let tracker = index.get(&key).filter(|tracker| tracker.uid == uid)?;
        tracker.ending().filter(Ending::is_known)
    }

    fn are_shared(&self) -> bool {
        self.retention_seconds().is_some()
    }

    fn past(&self, agent: &Agent) -> Option<Past> {
        let names = session_names(agent);
        let index = self.index();
        index.ended_with_names(&names).find_map(|tracker| Past::of(tracker, agent))
    }

    fn shares(&self, session: &Recorded, target: &Target) -> bool {
        let index = self.index();
        let trackers = index.in_namespace(&session.namespace).map(AsRef::as_ref);
        concurrent_sessions::on_target(trackers, &target.names(), &session.owner)
            .any(|tracker| tracker.uid != session.uid)
    }

    fn are_read(&self) -> bool {
        // Without retention there are no ended sessions to wait for.
        self.retention_seconds().is_none() || self.index().is_synced()
    }
}
