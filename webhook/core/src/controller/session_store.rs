//! Interfaces through which the controller uses the store of Session state.

use std::fmt::Debug;

use super::{Agent, AgentSession, HeartbeatSession, PreviousSession, Target};
use crate::sessions::Ending;

/// Store of the reasons for which Sessions are deleted.
///
/// The controller records a reason before it deletes a Session. The tracker of the ended session
/// then shows that reason.
pub trait DeleteReasons: Debug + Send + Sync {
    /// Records that the Session is about to be deleted because its agent ended.
    fn record_agent_ended(&self, session: &AgentSession);

    /// Records that the Session is about to be deleted because its agent has an older Session.
    fn record_duplicate(&self, session: &AgentSession);

    /// Records that the Session is about to be deleted because its heartbeats stopped.
    fn record_expired(&self, session: &HeartbeatSession);

    /// Retracts [`Self::record_expired`] for a Session that was not deleted after all.
    fn retract_expired(&self, session: &HeartbeatSession);

    /// Returns how the Session with this name and UID ended, or `None` if no reason is known.
    fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<Ending>;

    /// Returns whether reasons recorded by other replicas reach this store after a short delay.
    fn are_replicated(&self) -> bool;
}

/// Queries about current and ended Sessions.
pub trait SessionQueries: Debug + Send + Sync {
    /// Returns the last Session of the agent if the store knows that Session and it has ended.
    fn previous_session(&self, agent: &Agent) -> Option<PreviousSession>;

    /// Returns whether other users have sessions on the target of a Session that was just created.
    fn is_target_shared(&self, session: &AgentSession, target: &Target) -> bool;

    /// Returns whether the store has loaded the ended sessions, or stores none.
    ///
    /// Before that, [`Self::previous_session`] may miss a Session.
    fn is_synced(&self) -> bool;
}
