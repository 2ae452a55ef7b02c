//! Adoption of Sessions that `kubectl mirrord-sessions run` created before the agent started.

use std::ops::ControlFlow;

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mirrord_sessions_core::controller::{
    Agent, AgentSession, SessionPlan, check_adoption, claimed_session,
};
use mirrord_sessions_crds::{SessionId, SessionState};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Action, Controller, CreatedSession, Error,
    actions::{ActionResult, PLAN_AGAIN, is_deleted, new_binding},
};
use crate::stored_objects::StoredSession;

/// The number of attempts to write a Session that changes concurrently.
const MAX_ATTEMPTS: u32 = 4;

impl Controller<'_> {
    /// Binds the agent to the Session that its client claims and returns that Session.
    ///
    /// Returns `None` if the client claims none, or if the Session may not be adopted.
    pub(crate) async fn adopt_claimed_session(
        &self,
        agent: &Agent,
        plan: &SessionPlan,
    ) -> Result<Option<AgentSession>, Error> {
        let reason = match claimed_session(agent, plan) {
            None => return Ok(None),
            Some(Ok(id)) => match self.adopt(agent, plan, &id).await? {
                Ok(session) => return Ok(Some(session)),
                Err(reason) => reason,
            },
            Some(Err(reason)) => reason,
        };
        warn!(agent = %agent.id, reason, "not adopting the Session that the client names");
        Ok(None)
    }

    async fn adopt(
        &self,
        agent: &Agent,
        plan: &SessionPlan,
        id: &SessionId,
    ) -> Result<Result<AgentSession, &'static str>, Error> {
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &plan.namespace);
        for _ in 0..MAX_ATTEMPTS {
            let stored = sessions.get_opt(id.name()).await;
            let stored = stored.map_err(Error::on("read the Session that the client names"))?;
            let stored = stored.and_then(StoredSession::parse);
            if let Err(reason) = check_adoption(agent, plan, stored.as_ref()) {
                return Ok(Err(reason));
            }
            let meta = stored.map(|session| session.metadata).unwrap_or_default();
            // The preconditions restrict the write to the version that was checked.
            let mut status = json!({ "state": SessionState::Running, "agent": plan.status.agent });
            // The session monitor of the client may report no version.
            if let Some(version) = &agent.version {
                status["clientVersion"] = json!(version);
            }
            let patch = Patch::Merge(json!({
                "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
                "status": status,
            }));
            let params = PatchParams::default();
            match sessions.patch_status(id.name(), &params, &patch).await {
                Ok(session) => {
                    let Some(session) = session.parse() else {
                        return Ok(Err("the stored Session is malformed"));
                    };
                    self.state().cache.apply_session(&session);
                    return Ok(AgentSession::from_session(&session)
                        .ok_or("the stored Session is incomplete"));
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                    return Ok(Err("the API server rejected the status of the Session"));
                }
                Err(error) => {
                    return Err(Error::on("write the status of the claimed Session")(error));
                }
            }
        }
        Ok(Err("the Session kept changing"))
    }

    /// Records that an agent adopted a Session.
    pub(crate) fn record_adoption(
        &self,
        session: AgentSession,
        crd_uid: String,
    ) -> ControlFlow<Action> {
        info!(
            session = session.name,
            namespace = session.namespace,
            agent = %session.agent,
            "adopted the Session that the client created for its run"
        );
        self.metrics.session("adopted");
        let binding = new_binding(&session, crd_uid);
        let created = CreatedSession { at: Instant::now(), binding };
        self.state().created.insert(session.agent, created);
        PLAN_AGAIN
    }

    /// Removes the agent from the status of an adopted Session.
    ///
    /// The creator of the Session deletes it, or it expires without heartbeats.
    pub(crate) async fn unbind_agent(&self, session: &AgentSession) -> ActionResult {
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &session.namespace);
        let patch = Patch::Merge(json!({
            "metadata": { "uid": session.uid }, "status": { "agent": null },
        }));
        let params = PatchParams::default();
        match sessions.patch_status(&session.name, &params, &patch).await {
            Ok(stored) => {
                if let Some(stored) = stored.parse() {
                    self.state().cache.apply_session(&stored);
                }
                info!(
                    session = session.name,
                    namespace = session.namespace,
                    "removed an agent from its adopted Session"
                );
            }
            Err(error) if is_deleted(&error) => self.state().cache.forget_session(session),
            Err(error) => {
                return Err(Error::on("remove the agent from the status of its Session")(error));
            }
        }
        Ok(PLAN_AGAIN)
    }
}
