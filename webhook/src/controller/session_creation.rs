//! Creation of Sessions for agents.

use std::ops::ControlFlow;

use kube::{Api, api::PostParams, core::Status};
use mirrord_sessions_core::controller::{
    Agent, AgentKind, AgentSession, NAME_CANDIDATES, RunEvent, SessionCrd, SessionPlan,
    session_name, verify_owner,
};
use mirrord_sessions_crds::Session;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Action, Controller, CreatedSession, Error,
    actions::{ActionResult, PLAN_AGAIN, RECREATE_DELAY, new_binding},
};
use crate::stored_objects::StoredSession;

impl Controller<'_> {
    /// Creates the Session of an agent, or adopts the one that its client claims.
    ///
    /// If the agent had a Session that was deleted before the agent was bound to it, this writes
    /// the binding instead. The next plan then deletes the agent.
    pub(crate) async fn create_session(&self, agent: &Agent) -> ActionResult {
        let previously_created = {
            let state = self.state();
            let created = state.created.get(&agent.id);
            created.map(|created| (created.at.elapsed(), created.binding.clone()))
        };
        let is_unbound_job = agent.id.kind == AgentKind::Job && agent.valid_binding().is_none();
        if let Some((age, binding)) = &previously_created {
            if is_unbound_job {
                return self.bind_or_remember(&agent.id, binding, None).await;
            }
            if let Some(delay) = RECREATE_DELAY.checked_sub(*age) {
                return Ok(ControlFlow::Break(Action::RequeueAfter(delay)));
            }
        }
        let previous = self.session_queries.previous_session(agent);
        let (plan, crd) = self.plan_session(agent).await?;
        let stopped = previous.filter(|previous| previous.stops(agent, &crd));
        if let Some(previous) = &stopped
            && is_unbound_job
        {
            info!(agent = %agent.id, "binding an agent to its Session that was deleted before");
            let binding = previous.binding(agent, &crd);
            return self.bind_or_remember(&agent.id, &binding, None).await;
        }
        if agent.binding.is_some() && agent.valid_binding().is_none() {
            warn!(agent = %agent.id, "ignoring a binding that was copied from another agent");
        }
        if plan.client_info_altered {
            info!(
                agent = %agent.id,
                "truncated or sanitized the client's information to fit into a Session"
            );
        }
        if let Some(session) = self.adopt_claimed_session(agent, &plan).await? {
            return Ok(self.record_adoption(session, crd.uid));
        }
        let session = match self.send_create(agent, &plan).await {
            // The schema most likely rejects a value that the client controls.
            Err(Error::SessionRefused { invalid: true, .. }) => {
                warn!(agent = %agent.id, "creating a Session without client information");
                self.send_create(agent, &plan.clone().without_client_info()).await?
            }
            result => result?,
        };
        let Some(created) = AgentSession::from_session(&session) else {
            return Ok(ControlFlow::Break(Action::RequeueAfter(RECREATE_DELAY)));
        };
        info!(
            session = created.name,
            namespace = created.namespace,
            agent = %agent.id,
            verified = plan.unverified.is_none(),
            resolved = plan.unresolved.is_none(),
            "created session"
        );
        self.metrics.session("recorded");
        {
            let mut state = self.state();
            state.cache.apply_session(&session);
            state.session_plans.insert(agent.id.clone(), plan.clone());
            let binding = new_binding(&created, crd.uid);
            let created = CreatedSession { at: Instant::now(), binding };
            state.created.insert(agent.id.clone(), created);
        }
        for event in RunEvent::for_new_session(&plan) {
            self.recorder.record_for_session(&created, &event).await;
        }
        if self.session_queries.is_target_shared(&created, &plan.target) {
            self.recorder.record_for_session(&created, &RunEvent::target_shared(&created)).await;
        }
        let was_deleted = previously_created.is_some() || stopped.is_some();
        if was_deleted && agent.id.kind == AgentKind::Pod {
            let event = RunEvent::agent_runs_on(&agent.id);
            self.recorder.record_for_session(&created, &event).await;
        }
        Ok(PLAN_AGAIN)
    }

    /// Plans the Session of an agent and returns it with the CRD that it is created under.
    pub(crate) async fn plan_session(
        &self,
        agent: &Agent,
    ) -> Result<(SessionPlan, SessionCrd), Error> {
        let prerequisites = self.prerequisites.read().await;
        let prerequisites =
            prerequisites.map_err(Error::on("read the guard policies and the Session CRD"))?;
        let crd = match &prerequisites.crd {
            Some(crd) if !crd.deleting => crd.clone(),
            _ => return Err(Error::CrdMissing),
        };
        let target = self.resolve_target(agent).await?;
        Ok((SessionPlan::new(agent, &target, &verify_owner(agent, &prerequisites)), crd))
    }

    /// Creates the Session under its first name that no other client has taken.
    async fn send_create(&self, agent: &Agent, plan: &SessionPlan) -> Result<Session, Error> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &plan.namespace);
        let mut taken = Vec::new();
        for n in 0..NAME_CANDIDATES {
            let name = session_name(&agent.id, n);
            let result = sessions.create(&PostParams::default(), &plan.session(&name)).await;
            let error = match result {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let kube::Error::Api(status) = &error else {
                return Err(Error::on("create the Session")(error));
            };
            match status.code {
                409 if status.reason == "AlreadyExists" => {}
                403 | 422 => {
                    let reason = refusal_reason(status);
                    return Err(Error::SessionRefused { reason, invalid: status.code == 422 });
                }
                _ => return Err(Error::on("create the Session")(error)),
            }
            let stored: Api<StoredSession> = Api::namespaced(self.client.clone(), &plan.namespace);
            let existing = stored.get_opt(&name).await;
            let existing = existing.map_err(Error::on("read the Session of that name"))?;
            let existing = existing.and_then(StoredSession::parse);
            if let Some(session) = existing.filter(|existing| plan.matches(existing)) {
                return Ok(session);
            }
            info!(session = name, agent = %agent.id, "name is taken, trying the next candidate");
            taken.push(name);
        }
        Err(Error::NamesTaken { namespace: plan.namespace.clone(), names: taken })
    }
}

/// Returns why the API server rejected a Session, for an Event that many users may read.
///
/// The message about an invalid field quotes its value, which may be a session key. Only the fields
/// are named then.
fn refusal_reason(status: &Status) -> String {
    if status.code != 422 {
        return status.message.clone();
    }
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    if fields.is_empty() {
        "it is invalid".to_owned()
    } else {
        format!("invalid {}", fields.join(", "))
    }
}
