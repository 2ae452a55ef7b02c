//! Deletion of agents, until their Pods are being deleted.
//!
//! The API server accepts the deletion of a Job long before the Pods of the Job end. A finalizer on
//! the Job keeps them, unless the deletion is a foreground one: then the garbage collector deletes
//! the Pods first.

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use mirrord_sessions_core::{
    agents::Binding,
    controller::{Agent, AgentId, CachedPod, RunEvent},
};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Action, Controller, Error,
    actions::{AWAIT_CHANGE, ActionResult, PLAN_AGAIN, is_deleted},
    events::session_reference,
};
use crate::{
    list_watch::ListWatch,
    stored_objects::{StoredJob, StoredPod},
};

/// The label of a Pod that holds the UID of its Job.
const JOB_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// The delay between looks at the Pods of an agent.
const POLL_DELAY: Duration = Duration::from_millis(250);
/// The delay between looks after the warning.
const SLOW_POLL_DELAY: Duration = Duration::from_secs(10);
/// The time after which a user is warned of an agent whose Pods are not being deleted.
const WARNING_DELAY: Duration = Duration::from_secs(15);

/// An agent whose deletion was accepted.
#[derive(Clone, Debug)]
pub(super) struct StoppingAgent {
    agent: Agent,
    binding: Binding,
    since: Instant,
    warned: bool,
}

impl Controller<'_> {
    /// Deletes an agent and its Pods, because its Session or its Job is being deleted.
    pub(crate) async fn delete_agent(&self, agent: &Agent, binding: &Binding) -> ActionResult {
        let prerequisites = self.prerequisites.read().await;
        let prerequisites = prerequisites.map_err(Error::on("read the Session CRD"))?;
        // Deleting the CRD deletes its Sessions, which is no request to stop their runs.
        if !prerequisites.crd.is_some_and(|crd| !crd.deleting && crd.uid == binding.crd_uid) {
            return Err(Error::CrdMissing);
        }
        let jobs: Api<StoredJob> = Api::namespaced(self.client.clone(), &agent.id.namespace);
        let job = jobs.get_opt(&agent.id.name).await;
        let job = job.map_err(Error::on("read the agent"))?;
        let Some(job) = job.and_then(StoredJob::parse) else {
            return Ok(AWAIT_CHANGE);
        };
        let current = Agent::from_job(&job);
        let may_delete = |current: &Agent| self.state().may_delete(current, binding);
        let Some(current) = current.filter(|current| current.id == agent.id && may_delete(current))
        else {
            warn!(
                agent = %agent.id,
                session = binding.name,
                "not deleting the agent of a deleted Session: its binding or stamp does not match"
            );
            return Ok(AWAIT_CHANGE);
        };
        let params = DeleteParams::foreground().preconditions(Preconditions {
            uid: Some(agent.id.uid.clone()),
            resource_version: None,
        });
        match jobs.delete(&agent.id.name, &params).await {
            Ok(_) => {}
            Err(error) if is_deleted(&error) => return Ok(AWAIT_CHANGE),
            Err(error) => return Err(Error::on("delete the agent")(error)),
        }
        // A user who deletes the Job ends the run that way: its Session ends with the agent.
        if current.deletion.is_some() {
            info!(agent = %agent.id, "deleting the Pods of an agent with its Job");
            return Ok(AWAIT_CHANGE);
        }
        let (agent, binding) = (agent.clone(), binding.clone());
        let id = agent.id.clone();
        let stopping = StoppingAgent { agent, binding, since: Instant::now(), warned: false };
        self.state().stopping.insert(id.clone(), stopping);
        self.confirm_stopped(&id).await
    }

    /// Reports a stopped run once the Pods of its agent are being deleted.
    pub(super) async fn confirm_stopped(&self, id: &AgentId) -> ActionResult {
        let Some(stopping) = self.state().stopping.get(id).cloned() else {
            return Ok(PLAN_AGAIN);
        };
        if self.has_live_pods(id).await? {
            let warns = !stopping.warned && stopping.since.elapsed() >= WARNING_DELAY;
            if warns {
                self.warn_not_stopped(&stopping).await;
            }
            let delay = if warns || stopping.warned { SLOW_POLL_DELAY } else { POLL_DELAY };
            return Ok(ControlFlow::Break(Action::RequeueAfter(delay)));
        }
        self.state().stopping.remove(id);
        let StoppingAgent { agent, binding, .. } = &stopping;
        let Binding { namespace, name, uid, .. } = binding;
        let ending = self.wait_for_ending(namespace, name, uid).await;
        let event = RunEvent::agent_deleted(agent, binding, ending.as_ref(), Timestamp::now());
        let reason = ending.as_ref().map(|ending| &*ending.reason);
        info!(agent = %agent.id, session = name, reason, "deleted the agent of a deleted Session");
        self.metrics.session(if event.is_stop() { "stopped" } else { "closed" });
        if self.state().mark_reported(uid) {
            self.recorder.record(&session_reference(namespace, name, uid), &event).await;
        }
        Ok(PLAN_AGAIN)
    }

    /// Returns whether a Pod of the agent's Job is neither being deleted nor finished.
    async fn has_live_pods(&self, id: &AgentId) -> Result<bool, Error> {
        let pods: ListWatch<StoredPod> = ListWatch::all(self.client.clone())
            .in_namespace(&id.namespace)
            .with_labels(&format!("{JOB_LABEL}={}", id.uid));
        let mut list = pods.list();
        while let Some(pod) = list.next().await? {
            let pod = pod.ok().and_then(StoredPod::into_cached);
            if pod.as_ref().is_none_or(CachedPod::is_live) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn warn_not_stopped(&self, stopping: &StoppingAgent) {
        let StoppingAgent { agent, binding, since, .. } = stopping;
        warn!(agent = %agent.id, session = binding.name, "the Pods of a deleted agent still run");
        let event = RunEvent::agent_not_stopped(&agent.id, since.elapsed().as_secs());
        let Binding { namespace, name, uid, .. } = binding;
        self.recorder.record(&session_reference(namespace, name, uid), &event).await;
        if let Some(stopping) = self.state().stopping.get_mut(&agent.id) {
            stopping.warned = true;
        }
    }
}
