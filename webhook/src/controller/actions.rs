//! Execution of plans: each action changes the cluster and applies the result to the cache.
//!
//! A former leader that still runs cannot do harm. Names of Sessions are derived from agents, so it
//! creates no second Session. Every other write has the UID of its object as a precondition.

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use mirrord_sessions_core::{
    agents::{Binding, SESSION_ANNOTATION},
    controller::{
        Agent, AgentId, AgentKind, AgentPhase, AgentSession, MissingReason, RunEvent,
        missing_reason, set_phase,
    },
    sessions::Ending,
};
use mirrord_sessions_crds::SessionStatus;
use serde_json::json;
use tokio::time::sleep;
use tracing::info;

use super::{Action, Controller, Error, unbound_agents::denial_reason};
use crate::stored_objects::{StoredJob, StoredPod, StoredSession};

/// The result of an action: plan again, or end the reconciliation.
pub(crate) type ActionResult = Result<ControlFlow<Action>, Error>;

pub(crate) const PLAN_AGAIN: ControlFlow<Action> = ControlFlow::Continue(());
pub(crate) const AWAIT_CHANGE: ControlFlow<Action> = ControlFlow::Break(Action::AwaitChange);
/// The minimum delay before a Session that a user deletes repeatedly is created again.
pub(crate) const RECREATE_DELAY: Duration = Duration::from_secs(5);

impl Controller<'_> {
    /// Writes the status of a Session, which the API server drops on create, or its state.
    pub(crate) async fn write_status(
        &self,
        agent: &Agent,
        phase: &AgentPhase,
        session: &AgentSession,
    ) -> ActionResult {
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &session.namespace);
        let mut status = if session.status_written {
            let stored = sessions.get_opt(&session.name).await;
            let stored = stored.map_err(Error::on("read the Session"))?;
            let Some(stored) = stored.and_then(StoredSession::parse) else {
                return Ok(AWAIT_CHANGE);
            };
            let SessionStatus { state, message, .. } = stored.status.unwrap_or_default();
            SessionStatus { state, message, ..SessionStatus::default() }
        } else {
            let cached = self.state().session_plans.get(&agent.id).cloned();
            match cached {
                Some(session_plan) => session_plan.status,
                None => self.plan_session(agent).await?.0.status,
            }
        };
        set_phase(&mut status, phase);
        let mut patch = json!({ "metadata": { "uid": session.uid }, "status": status });
        // A merge patch removes a message only if it names it.
        patch["status"]["message"] = status.message.into();
        let params = PatchParams::default();
        let result = sessions.patch_status(&session.name, &params, &Patch::Merge(patch)).await;
        let mut state = self.state();
        match result.map(StoredSession::parse) {
            Ok(Some(stored)) => {
                state.session_plans.remove(&agent.id);
                state.cache.apply_session(&stored);
                Ok(PLAN_AGAIN)
            }
            // The watch delivers what is stored.
            Ok(None) => Ok(AWAIT_CHANGE),
            Err(error) if is_deleted(&error) => {
                state.cache.forget_session(session);
                Ok(PLAN_AGAIN)
            }
            Err(error) => Err(Error::on("write the status of the Session")(error)),
        }
    }

    /// Binds an agent Job to its Session.
    pub(crate) async fn bind_agent(&self, session: &AgentSession) -> ActionResult {
        let binding = {
            let state = self.state();
            state.created.get(&session.agent).map(|created| created.binding.clone())
        };
        if let Some(binding) = binding.filter(|binding| binding.uid == session.uid) {
            return self.bind_or_remember(&session.agent, &binding, Some(session)).await;
        }
        // Another leader created the Session. The Session exists, so it belongs to the current CRD.
        let prerequisites = self.prerequisites.read().await;
        let prerequisites = prerequisites.map_err(Error::on("read the Session CRD"))?;
        let crd = prerequisites.crd.ok_or(Error::CrdMissing)?;
        let binding = new_binding(session, crd.uid);
        self.bind_or_remember(&session.agent, &binding, Some(session)).await
    }

    /// Writes the binding on the agent Job.
    pub(crate) async fn write_binding(&self, agent: &AgentId, binding: &Binding) -> ActionResult {
        let patch = json!({
            "metadata": { "uid": agent.uid, "annotations": { SESSION_ANNOTATION: binding.encode() } },
        });
        let jobs: Api<StoredJob> = Api::namespaced(self.client.clone(), &agent.namespace);
        let result = jobs.patch(&agent.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match result.map(StoredJob::parse) {
            Ok(Some(job)) => {
                self.state().cache.apply_job(&job);
                Ok(PLAN_AGAIN)
            }
            // The watch delivers what is stored.
            Ok(None) => Ok(AWAIT_CHANGE),
            // The watch delivers the deletion.
            Err(error) if is_deleted(&error) => Ok(AWAIT_CHANGE),
            Err(error) => match denial_reason(&error) {
                Some(reason) => Err(Error::BindingDenied(reason.to_owned())),
                None => Err(Error::on("bind the agent to its Session")(error)),
            },
        }
    }

    /// Handles a bound agent whose Session is not cached.
    ///
    /// Deletes the agent if a client deleted the Session. Creates another Session if the CRD was
    /// recreated.
    pub(crate) async fn resolve_missing_session(
        &self,
        agent: &Agent,
        binding: &Binding,
    ) -> ActionResult {
        let prerequisites = self.prerequisites.read().await;
        let prerequisites = prerequisites.map_err(Error::on("read the Session CRD"))?;
        let crd = prerequisites.crd.as_ref();
        if crd.is_none_or(|crd| crd.deleting) {
            return Err(Error::CrdMissing);
        }
        // List, because a get returns 404 also if the CRD is missing.
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &binding.namespace);
        let params = ListParams::default().fields(&format!("metadata.name={}", binding.name));
        let list = sessions.list(&params).await;
        let list = list.map_err(Error::on("list the Session of the agent"))?;
        let session = list.items.into_iter().next();
        let session = session.filter(|session| session.metadata.deletion_timestamp.is_none());
        let uid = session.as_ref().and_then(|session| session.metadata.uid.clone());
        match missing_reason(binding, crd, uid.as_deref()) {
            MissingReason::Deleted => self.delete_agent(agent, binding).await,
            MissingReason::CrdRecreated => self.create_session(agent).await,
            MissingReason::Unknown if uid.as_ref() == Some(&binding.uid) => {
                if let Some(session) = session.and_then(StoredSession::parse) {
                    self.state().cache.apply_session(&session);
                }
                Ok(ControlFlow::Break(Action::RequeueAfter(RECREATE_DELAY)))
            }
            MissingReason::Unknown => Err(Error::CrdMissing),
        }
    }

    /// Returns how a Session ended.
    ///
    /// Admission may have recorded the reason on another replica, so this waits for it briefly.
    pub(crate) async fn wait_for_ending(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Option<Ending> {
        for _ in 0..10 {
            if let Some(ending) = self.delete_reasons.ending(namespace, name, uid) {
                return Some(ending);
            }
            if !self.delete_reasons.are_replicated() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        None
    }

    /// Reads the agent of a Session from the API server and deletes the Session if it is gone.
    ///
    /// The agent is not cached: it ended, or the watch has not delivered it yet.
    pub(crate) async fn verify_agent_gone(&self, session: &AgentSession) -> ActionResult {
        let id = &session.agent;
        let exists = match id.kind {
            AgentKind::Job => {
                let jobs: Api<StoredJob> = Api::namespaced(self.client.clone(), &id.namespace);
                let job = jobs.get_opt(&id.name).await;
                let job = job.map_err(Error::on("read the agent"))?;
                let job = job.filter(|job| job.metadata.uid.as_deref() == Some(&id.uid));
                let exists = job.is_some();
                if let Some(job) = job.and_then(StoredJob::parse) {
                    self.state().cache.apply_job(&job);
                }
                exists
            }
            AgentKind::Pod => {
                let pods: Api<StoredPod> = Api::namespaced(self.client.clone(), &id.namespace);
                let pod = pods.get_opt(&id.name).await;
                let pod = pod.map_err(Error::on("read the Pod of the agent"))?;
                let pod = pod
                    .and_then(StoredPod::into_cached)
                    .filter(|pod| pod.agents.iter().any(|agent| agent.id == *id));
                let exists = pod.is_some();
                if let Some(pod) = pod {
                    self.state().cache.apply_pod(pod, None);
                }
                exists
            }
        };
        if !exists {
            return if session.adopted {
                self.unbind_agent(session).await
            } else {
                self.delete_session(session).await
            };
        }
        if self.agent(id).is_some() {
            return Ok(PLAN_AGAIN);
        }
        // The Job runs but is no longer recognized as an agent. Check it from time to time.
        Ok(ControlFlow::Break(Action::RequeueAfter(Duration::from_mins(1))))
    }

    /// Deletes the Session of an agent that ended.
    pub(crate) async fn delete_session(&self, session: &AgentSession) -> ActionResult {
        self.delete_reasons.record_agent_ended(session);
        if self.send_delete(session).await? {
            info!(
                session = session.name,
                namespace = session.namespace,
                "deleted the Session of an agent that ended"
            );
            self.metrics.session("closed");
            let event = RunEvent::agent_ended(session, Timestamp::now());
            self.recorder.record_for_session(session, &event).await;
        }
        Ok(PLAN_AGAIN)
    }

    /// Deletes the Session of an agent that has an older one.
    pub(crate) async fn delete_duplicate(&self, session: &AgentSession) -> ActionResult {
        self.delete_reasons.record_duplicate(session);
        self.send_delete(session).await?;
        Ok(PLAN_AGAIN)
    }

    /// Deletes a Session and returns whether it still existed.
    async fn send_delete(&self, session: &AgentSession) -> Result<bool, Error> {
        let sessions: Api<StoredSession> = Api::namespaced(self.client.clone(), &session.namespace);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(session.uid.clone()),
            resource_version: None,
        });
        let existed = match sessions.delete(&session.name, &params).await {
            Ok(_) => true,
            Err(error) if is_deleted(&error) => false,
            Err(error) => return Err(Error::on("delete the Session")(error)),
        };
        self.state().cache.forget_session(session);
        Ok(existed)
    }
}

/// Creates the binding of an agent to its Session.
pub(crate) fn new_binding(session: &AgentSession, crd_uid: String) -> Binding {
    Binding {
        namespace: session.namespace.clone(),
        name: session.name.clone(),
        uid: session.uid.clone(),
        agent_uid: session.agent.uid.clone(),
        crd_uid,
        owner: session.owner.clone(),
        target: session.target.clone(),
    }
}

/// Returns whether the object was deleted or replaced by another one of the same name.
///
/// Other conflicts are temporary.
pub(crate) fn is_deleted(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let is_other_uid =
        status.message.contains("UID in precondition") || status.message.contains("metadata.uid");
    status.code == 404 || (is_other_uid && matches!(status.code, 409 | 422))
}
