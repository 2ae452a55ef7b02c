//! Execution of plans: each action changes the cluster and applies the result to the cache.
//!
//! A former leader that still runs cannot do harm. Names of Sessions are derived from agents, so it
//! creates no second Session. Every other write has the UID of its object as a precondition.

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use mirrord_sessions_core::{
    agents::{Binding, SESSION_ANNOTATION},
    controller::{
        Agent, AgentId, AgentKind, AgentSession, MissingReason, RunEvent, may_delete_agent,
        missing_reason,
    },
    sessions::Ending,
};
use mirrord_sessions_crds::{Session, SessionStatus};
use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Action, Controller, Error, events::session_reference};
use crate::stored_objects::StoredPod;

/// The result of an action: plan again, or end the reconciliation.
pub(crate) type ActionResult = Result<ControlFlow<Action>, Error>;

pub(crate) const PLAN_AGAIN: ControlFlow<Action> = ControlFlow::Continue(());
const AWAIT_CHANGE: ControlFlow<Action> = ControlFlow::Break(Action::AwaitChange);
/// The minimum delay before a Session that a user deletes repeatedly is created again.
pub(crate) const RECREATE_DELAY: Duration = Duration::from_secs(5);

impl Controller<'_> {
    /// Writes the status of a Session, which the API server drops on create.
    pub(crate) async fn write_status(&self, agent: &Agent, session: &AgentSession) -> ActionResult {
        let cached = self.state().session_plans.get(&agent.id).cloned();
        let session_plan = match cached {
            Some(session_plan) => session_plan,
            None => self.plan_session(agent).await?.0,
        };
        let result = self.patch_status(session, &session_plan.status).await;
        let mut state = self.state();
        match result {
            Ok(stored) => {
                state.session_plans.remove(&agent.id);
                state.cache.apply_session(&stored);
                Ok(PLAN_AGAIN)
            }
            Err(error) if is_deleted(&error) => {
                state.cache.forget_session(session);
                Ok(PLAN_AGAIN)
            }
            Err(error) => Err(Error::on("write the status of the Session")(error)),
        }
    }

    async fn patch_status(
        &self,
        session: &AgentSession,
        status: &SessionStatus,
    ) -> Result<Session, kube::Error> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &session.namespace);
        let patch = json!({ "metadata": { "uid": session.uid }, "status": status });
        let params = PatchParams::default();
        sessions.patch_status(&session.name, &params, &Patch::Merge(patch)).await
    }

    /// Binds an agent Job to its Session.
    pub(crate) async fn bind_agent(&self, session: &AgentSession) -> ActionResult {
        let binding = {
            let state = self.state();
            state.created.get(&session.agent).map(|created| created.binding.clone())
        };
        if let Some(binding) = binding.filter(|binding| binding.uid == session.uid) {
            return self.write_binding(&session.agent, &binding).await;
        }
        // Another leader created the Session. The Session exists, so it belongs to the current CRD.
        let prerequisites = self.prerequisites.read().await;
        let prerequisites = prerequisites.map_err(Error::on("read the Session CRD"))?;
        let crd = prerequisites.crd.ok_or(Error::CrdMissing)?;
        self.write_binding(&session.agent, &new_binding(session, crd.uid)).await
    }

    /// Writes the binding on the agent Job.
    pub(crate) async fn write_binding(&self, agent: &AgentId, binding: &Binding) -> ActionResult {
        let patch = json!({
            "metadata": { "uid": agent.uid, "annotations": { SESSION_ANNOTATION: binding.encode() } },
        });
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &agent.namespace);
        let result = jobs.patch(&agent.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match result {
            Ok(job) => {
                self.state().cache.apply_job(&job);
                Ok(PLAN_AGAIN)
            }
            // The watch delivers the deletion.
            Err(error) if is_deleted(&error) => Ok(AWAIT_CHANGE),
            Err(error) => Err(Error::on("bind the agent to its Session")(error)),
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
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &binding.namespace);
        let params = ListParams::default().fields(&format!("metadata.name={}", binding.name));
        let list = sessions.list(&params).await;
        let list = list.map_err(Error::on("list the Session of the agent"))?;
        let session = list.items.first();
        let uid = session.and_then(|session| session.metadata.uid.as_deref());
        match missing_reason(binding, crd, uid) {
            MissingReason::Deleted => self.delete_agent(agent, binding).await,
            MissingReason::CrdRecreated => self.create_session(agent).await,
            MissingReason::Unknown if uid == Some(&binding.uid) => {
                if let Some(session) = session {
                    self.state().cache.apply_session(session);
                }
                Ok(ControlFlow::Break(Action::RequeueAfter(RECREATE_DELAY)))
            }
            MissingReason::Unknown => Err(Error::CrdMissing),
        }
    }

    /// Deletes an agent whose Session was deleted.
    async fn delete_agent(&self, agent: &Agent, binding: &Binding) -> ActionResult {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &agent.id.namespace);
        let job = jobs.get_opt(&agent.id.name).await;
        let job = job.map_err(Error::on("read the agent"))?;
        let Some(current) = job.as_ref().and_then(Agent::from_job) else {
            return Ok(AWAIT_CHANGE);
        };
        if current.id != agent.id || !may_delete_agent(&current, binding) {
            warn!(
                agent = %agent.id,
                session = binding.name,
                "not deleting the agent of a deleted Session: its binding or stamp does not match"
            );
            return Ok(AWAIT_CHANGE);
        }
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(agent.id.uid.clone()),
            resource_version: None,
        });
        match jobs.delete(&agent.id.name, &params).await {
            Ok(_) => {}
            Err(error) if is_deleted(&error) => return Ok(AWAIT_CHANGE),
            Err(error) => return Err(Error::on("delete the agent")(error)),
        }
        let Binding { namespace, name, uid, .. } = binding;
        let ending = self.wait_for_ending(namespace, name, uid).await;
        let event = RunEvent::agent_deleted(agent, binding, ending.as_ref(), Timestamp::now());
        let by = ending.as_ref().and_then(|ending| ending.by.as_deref());
        let reason = ending.as_ref().map(|ending| &*ending.reason);
        info!(agent = %agent.id, session = name, reason, by, "deleted the agent of a deleted Session");
        self.metrics.session(if event.is_stop() { "stopped" } else { "closed" });
        if self.state().mark_reported(uid) {
            self.recorder.record(&session_reference(namespace, name, uid), &event).await;
        }
        Ok(AWAIT_CHANGE)
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
                let jobs: Api<Job> = Api::namespaced(self.client.clone(), &id.namespace);
                let job = jobs.get_opt(&id.name).await;
                let job = job.map_err(Error::on("read the agent"))?;
                let job = job.filter(|job| job.meta().uid.as_deref() == Some(&id.uid));
                if let Some(job) = &job {
                    self.state().cache.apply_job(job);
                }
                job.is_some()
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
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &session.namespace);
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
