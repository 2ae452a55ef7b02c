//! Deletion of Sessions whose heartbeats stopped, and Events about heartbeat Sessions that ended.

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use mirrord_sessions_core::controller::{HeartbeatSession, HeartbeatTimer, RunEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::{
    Controller, Error, MAX_CONCURRENT, RECONCILE_TIMEOUT, actions::is_deleted,
    events::session_reference,
};
use crate::stored_objects::StoredSession;

/// The delay of a report, so that the task that deletes the agent reports the end first.
const AGENT_REPORT_DELAY: Duration = Duration::from_secs(5);
/// The number of checks within the time after which a Session expires.
const CHECKS_PER_EXPIRY: u32 = 12;

impl Controller<'_> {
    /// Deletes expired Sessions until the future is dropped.
    pub(crate) async fn run_heartbeat_expiry(&self) {
        let start = Instant::now();
        let expiry = self.heartbeat_expiry;
        let mut timer = HeartbeatTimer::default();
        let mut ticks = interval(expiry / CHECKS_PER_EXPIRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let expired = {
                let state = self.state();
                if !state.synced {
                    continue;
                }
                let sessions = state.cache.sessions_requiring_heartbeats();
                timer.expired(sessions, start.elapsed(), expiry)
            };
            // One that cannot be deleted does not hold up the others.
            let deletions = stream::iter(expired);
            deletions.for_each_concurrent(MAX_CONCURRENT, |session| self.expire(session)).await;
        }
    }

    async fn expire(&self, session: HeartbeatSession) {
        if let Err(error) = self.delete_expired_session(&session).await {
            warn!(
                session = session.name,
                namespace = session.namespace,
                %error,
                "failed to delete an expired Session, retrying at the next check"
            );
        }
    }

    /// Records the Event for a deleted heartbeat Session, unless its end was reported already.
    pub(crate) async fn report_deleted_session(&self, session: HeartbeatSession) {
        if session.agent.is_some() {
            sleep(AGENT_REPORT_DELAY).await;
        }
        let HeartbeatSession { namespace, name, uid, .. } = &session;
        let ending = self.wait_for_ending(namespace, name, uid).await;
        let Some(event) = RunEvent::session_deleted(&session, ending.as_ref(), Timestamp::now())
        else {
            return;
        };
        if !self.state().mark_reported(uid) {
            return;
        }
        let by = ending.as_ref().and_then(|ending| ending.by.as_deref());
        let reason = ending.as_ref().map(|ending| &*ending.reason);
        info!(session = name, namespace, reason, by, "a Session with heartbeats was deleted");
        self.metrics.session(if event.is_stop() { "stopped" } else { "closed" });
        self.recorder.record(&session_reference(namespace, name, uid), &event).await;
    }

    /// Deletes an expired Session if its stored version has no newer report.
    async fn delete_expired_session(&self, expired: &HeartbeatSession) -> Result<(), Error> {
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &expired.namespace);
        let stored = timeout(RECONCILE_TIMEOUT, sessions.get_opt(&expired.name)).await;
        let stored = stored.map_err(|_| Error::Timeout(RECONCILE_TIMEOUT))?;
        let stored = stored.map_err(Error::on("read the expired Session"))?;
        let Some(stored) = stored
            .and_then(StoredSession::parse)
            .filter(|stored| HeartbeatSession::from_session(stored).as_ref() == Some(expired))
        else {
            return Ok(());
        };
        // The resource version prevents the deletion if a report or an agent arrives meanwhile.
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: stored.metadata.uid,
            resource_version: stored.metadata.resource_version,
        });
        // Mark the end as reported first: the watch may deliver it before the response arrives.
        let marked = self.state().mark_reported(&expired.uid);
        self.delete_reasons.record_expired(expired);
        let result = timeout(RECONCILE_TIMEOUT, sessions.delete(&expired.name, &params)).await;
        let error = match result {
            Ok(Ok(_)) => {
                self.state().cache.forget_heartbeat_session(expired);
                if marked {
                    self.report_expired_session(expired).await;
                }
                return Ok(());
            }
            Ok(Err(error)) => {
                if matches!(error, kube::Error::Api(_)) {
                    self.delete_reasons.retract_expired(expired);
                }
                Some(error)
            }
            Err(_) => None,
        };
        // The Session still exists, or another client deleted it. After a timeout it may be deleted
        // too. Report its end if the watch delivered it meanwhile.
        let ended_meanwhile = marked && {
            let mut state = self.state();
            state.reported.remove(&expired.uid);
            !state.cache.has_heartbeat_session(expired)
        };
        if ended_meanwhile {
            self.report_deleted_session(expired.clone()).await;
        }
        match error {
            None => Err(Error::Timeout(RECONCILE_TIMEOUT)),
            Some(error) if is_deleted(&error) => Ok(()),
            Some(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Some(error) => Err(Error::on("delete the expired Session")(error)),
        }
    }

    async fn report_expired_session(&self, session: &HeartbeatSession) {
        let HeartbeatSession { namespace, name, uid, .. } = session;
        info!(session = name, namespace, "deleted an expired Session: its heartbeats stopped");
        self.metrics.session("expired");
        let event = RunEvent::session_expired(session, Timestamp::now());
        self.recorder.record(&session_reference(namespace, name, uid), &event).await;
    }
}
