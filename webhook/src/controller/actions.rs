//! What is done about an agent. Each is a step of its own: it changes the cluster, and the view
//! with it.
//!
//! A leader that lost its Lease unnoticed can't do harm: names of Sessions are derived from agents,
//! and every other write names the identifier of what it is about.

use std::time::Duration;

use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use mirrord_sessions_core::{
    agents::{Binding, SESSION},
    controller::{Agent, AgentId, AgentKind, Lost, Recorded, Told, View, may_stop, when_lost},
    sessions::Ending,
};
use mirrord_sessions_crds::{Session, SessionStatus};
use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Controller, Failed, Looked, events};
use crate::stored_objects::StoredPod;

/// Go on with the next step.
pub(crate) const GO_ON: Option<Looked> = None;
const DONE: Option<Looked> = Some(Looked::Done);
/// A Session that is deleted again and again comes back no sooner.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);

pub(crate) type Next = Result<Option<Looked>, Failed>;

impl Controller<'_> {
    /// Writes the status, which the API server drops when a Session is created.
    pub(crate) async fn report(&self, agent: &Agent, session: &Recorded) -> Next {
        let draft = self.state().drafts.get(&agent.id).cloned();
        let draft = match draft {
            Some(draft) => draft,
            None => self.draft(agent).await?.0,
        };
        let written = self.write_status(session, &draft.status).await;
        let mut state = self.state();
        match written {
            Ok(stored) => {
                state.drafts.remove(&agent.id);
                state.view.apply_session(&stored);
                Ok(GO_ON)
            }
            Err(error) if is_gone(&error) => {
                state.view.forget_session(session);
                Ok(GO_ON)
            }
            Err(error) => Err(Failed::of("the Session's status can't be written")(error)),
        }
    }

    async fn write_status(
        &self,
        session: &Recorded,
        status: &SessionStatus,
    ) -> Result<Session, kube::Error> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &session.namespace);
        let patch = json!({ "metadata": { "uid": session.uid }, "status": status });
        let params = PatchParams::default();
        sessions.patch_status(&session.name, &params, &Patch::Merge(patch)).await
    }

    /// Ties an agent to its Session.
    pub(crate) async fn bind(&self, session: &Recorded) -> Next {
        let made = {
            let state = self.state();
            let made = state.recorded.get(&session.agent);
            made.map(|made| made.binding.clone())
        };
        if let Some(binding) = made.filter(|binding| binding.uid == session.uid) {
            return self.tie(&session.agent, &binding).await;
        }
        // Made by another leader, and there: so it was under the definition that is.
        let ground = self.grounds.read().await;
        let ground = ground.map_err(Failed::of("the definition can't be read"))?;
        let definition = ground.definition.ok_or(Failed::NoDefinition)?;
        self.tie(&session.agent, &binding(session, definition.uid)).await
    }

    pub(crate) async fn tie(&self, agent: &AgentId, binding: &Binding) -> Next {
        let patch = json!({
            "metadata": { "uid": agent.uid, "annotations": { SESSION: binding.text() } },
        });
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &agent.namespace);
        let bound = jobs.patch(&agent.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match bound {
            Ok(job) => {
                self.state().view.apply_job(&job);
                Ok(GO_ON)
            }
            // The watch will tell.
            Err(error) if is_gone(&error) => Ok(DONE),
            Err(error) => Err(Failed::of("the agent can't be tied to its Session")(error)),
        }
    }

    /// The Session that an agent is tied to isn't seen.
    pub(crate) async fn missed(&self, agent: &Agent, binding: &Binding) -> Next {
        let ground =
            self.grounds.read().await.map_err(Failed::of("the definition can't be read"))?;
        let definition = ground.definition.as_ref();
        if definition.is_none_or(|definition| definition.going) {
            return Err(Failed::NoDefinition);
        }
        // A list: where the definition is missing it fails, and a get would say "not found".
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &binding.namespace);
        let params = ListParams::default().fields(&format!("metadata.name={}", binding.name));
        let listed = sessions.list(&params).await;
        let listed = listed.map_err(Failed::of("its Session can't be looked for"))?;
        let session = listed.items.first();
        let uid = session.and_then(|session| session.metadata.uid.as_deref());
        match when_lost(binding, definition, uid) {
            Lost::Stopped => self.stop(agent, binding).await,
            Lost::Forgotten => self.record(agent).await,
            Lost::Unknown if uid == Some(&binding.uid) => {
                if let Some(session) = session {
                    self.state().view.apply_session(session);
                }
                Ok(Some(Looked::Again(AGAIN)))
            }
            Lost::Unknown => Err(Failed::NoDefinition),
        }
    }

    /// Deletes an agent whose Session was deleted.
    async fn stop(&self, agent: &Agent, binding: &Binding) -> Next {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &agent.id.namespace);
        let found = jobs.get_opt(&agent.id.name).await;
        let found = found.map_err(Failed::of("the agent can't be read"))?;
        let Some(now) = found.as_ref().and_then(Agent::of_job) else {
            return Ok(DONE);
        };
        if now.id != agent.id || !may_stop(&now, binding) {
            warn!(agent = %agent.id, session = binding.name, "not the agent that was tied to the Session: left alone");
            return Ok(DONE);
        }
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(agent.id.uid.clone()),
            resource_version: None,
        });
        match jobs.delete(&agent.id.name, &params).await {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(DONE),
            Err(error) => return Err(Failed::of("the agent can't be deleted")(error)),
        }
        let Binding { namespace, name, uid, .. } = binding;
        let how = self.ending(namespace, name, uid).await;
        let about = events::session(&binding.namespace, &binding.name, &binding.uid);
        let told = Told::stopped(agent, binding, how.as_ref(), Timestamp::now());
        let by = how.as_ref().and_then(|how| how.by.as_deref());
        let reason = how.as_ref().map(|how| &*how.reason);
        info!(agent = %agent.id, session = binding.name, reason, by, "ended a run: its Session was deleted");
        self.metrics.session(if told.is_stop() { "stopped" } else { "closed" });
        if self.state().tells(uid) {
            self.teller.publish(&about, &told).await;
        }
        Ok(DONE)
    }

    /// How the Session ended. Another replica may have been asked, whose word takes a moment.
    pub(crate) async fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<Ending> {
        for _ in 0..10 {
            if let Some(how) = self.endings.ending(namespace, name, uid) {
                return Some(how);
            }
            if !self.endings.are_shared() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        None
    }

    /// The agent of a Session isn't seen: it may have ended, or not be seen yet.
    pub(crate) async fn confirm(&self, session: &Recorded) -> Next {
        let id = &session.agent;
        let there = match id.kind {
            AgentKind::Job => {
                let jobs: Api<Job> = Api::namespaced(self.client.clone(), &id.namespace);
                let job = jobs.get_opt(&id.name).await;
                let job = job.map_err(Failed::of("the agent can't be read"))?;
                let job = job.filter(|job| job.meta().uid.as_deref() == Some(&id.uid));
                job.is_some_and(|job| self.see(|view| view.apply_job(&job)))
            }
            AgentKind::Pod => {
                let pods: Api<StoredPod> = Api::namespaced(self.client.clone(), &id.namespace);
                let pod = pods.get_opt(&id.name).await;
                let pod = pod.map_err(Failed::of("the agent's Pod can't be read"))?;
                let pod = pod.and_then(StoredPod::view);
                let pod = pod.filter(|pod| pod.agents.iter().any(|agent| agent.id == *id));
                pod.is_some_and(|pod| self.see(|view| view.apply_pod(pod, None)))
            }
        };
        if !there {
            return if session.adopted {
                self.release(session).await
            } else {
                self.close(session, true).await
            };
        }
        if self.agent(id).is_some() {
            return Ok(GO_ON);
        }
        // It lost what an agent is known by, and runs: it is looked at from time to time.
        Ok(Some(Looked::Again(Duration::from_mins(1))))
    }

    fn see<T>(&self, see: impl FnOnce(&mut View) -> T) -> bool {
        see(&mut self.state().view);
        true
    }

    /// Deletes the Session of an agent that ended.
    pub(crate) async fn close(&self, session: &Recorded, tell: bool) -> Next {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &session.namespace);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(session.uid.clone()),
            resource_version: None,
        });
        if tell {
            self.endings.over(session);
        } else {
            self.endings.doubled(session);
        }
        let deleted = sessions.delete(&session.name, &params).await;
        match deleted {
            Ok(_) => {}
            Err(error) if is_gone(&error) => {
                self.state().view.forget_session(session);
                return Ok(GO_ON);
            }
            Err(error) => return Err(Failed::of("the Session can't be deleted")(error)),
        }
        self.state().view.forget_session(session);
        if tell {
            info!(
                session = session.name,
                namespace = session.namespace,
                "closed a run: its agent ended"
            );
            self.metrics.session("closed");
            self.teller.of_session(session, &Told::over(session, Timestamp::now())).await;
        }
        Ok(GO_ON)
    }
}

pub(crate) fn binding(session: &Recorded, definition: String) -> Binding {
    Binding {
        namespace: session.namespace.clone(),
        name: session.name.clone(),
        uid: session.uid.clone(),
        agent: session.agent.uid.clone(),
        definition,
        owner: session.owner.clone(),
        target: session.target.clone(),
    }
}

/// It isn't there any more, or is another of the same name. Other conflicts pass.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let other =
        status.message.contains("UID in precondition") || status.message.contains("metadata.uid");
    status.code == 404 || (other && matches!(status.code, 409 | 422))
}
