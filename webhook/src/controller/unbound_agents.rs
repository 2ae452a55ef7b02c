//! Agents whose binding the API server denies, for example because of another admission policy.
//!
//! The binding tells every leader which agent to delete with a Session. If it can't be written, this
//! process remembers it and plans as if it were on the agent. A later leader learns the pair from
//! the Session, tries again, and remembers it too.

use mirrord_sessions_core::{
    agents::Binding,
    controller::{
        Agent, AgentId, AgentSession, RunEvent, may_delete_agent, may_delete_unbound_agent,
    },
};

use super::{
    Controller, Error, State,
    actions::{ActionResult, PLAN_AGAIN},
};

impl State {
    /// Returns an agent with its binding, even if the API server denied to store it.
    pub(super) fn with_denied_binding(&self, agent: &Agent) -> Agent {
        let mut agent = agent.clone();
        if let Some(binding) = self.denied_bindings.get(&agent.id) {
            agent.binding = Some(binding.clone());
        }
        agent
    }

    /// Returns whether an agent that was just read may be deleted for the deleted Session.
    pub(super) fn may_delete(&self, current: &Agent, binding: &Binding) -> bool {
        let is_denied = self.denied_bindings.get(&current.id) == Some(binding);
        may_delete_agent(current, binding)
            || is_denied && may_delete_unbound_agent(current, binding)
    }
}

impl Controller<'_> {
    /// Writes the binding on the agent Job, or remembers it if the API server denies it.
    ///
    /// `session` is the Session of the binding if it still exists.
    pub(super) async fn bind_or_remember(
        &self,
        id: &AgentId,
        binding: &Binding,
        session: Option<&AgentSession>,
    ) -> ActionResult {
        let reason = match self.write_binding(id, binding).await {
            Err(Error::BindingDenied(reason)) => reason,
            result => {
                self.state().denied_bindings.remove(id);
                return result;
            }
        };
        let previous = self.state().denied_bindings.insert(id.clone(), binding.clone());
        if previous.as_ref() != Some(binding) {
            if let Some(session) = session {
                self.report_on_session(session, &RunEvent::agent_not_bound(&reason)).await?;
            }
            self.report_error(id, &Error::BindingDenied(reason)).await;
        }
        Ok(PLAN_AGAIN)
    }

    /// Adds an Event to a Session, and its note to the status if that is not written yet.
    async fn report_on_session(
        &self,
        session: &AgentSession,
        event: &RunEvent,
    ) -> Result<(), Error> {
        let id = &session.agent;
        if let Some(agent) = self.agent(id).filter(|_| !session.status_written) {
            let cached = self.state().session_plans.get(id).cloned();
            let mut plan = match cached {
                Some(plan) => plan,
                None => self.plan_session(&agent).await?.0,
            };
            plan.add_problem(&event.note);
            self.state().session_plans.insert(id.clone(), plan);
        }
        self.recorder.record_for_session(session, event).await;
        Ok(())
    }
}

/// Returns the reason for which the API server denied a write, unless a retry may help soon.
pub(super) fn denial_reason(error: &kube::Error) -> Option<&str> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let is_denied = matches!(status.code, 400 | 403 | 413 | 422)
        || status.message.contains("request is too large");
    is_denied.then_some(&*status.message)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn distinguishes_denials_from_temporary_errors() {
        let too_large = "etcdserver: request is too large";
        for (code, message, denied) in [
            (403, "denied by a policy", true),
            (422, "metadata.annotations: Too long", true),
            (413, "Request entity too large", true),
            (500, too_large, true),
            (500, "failed calling webhook", false),
            (409, "the object has been modified", false),
            (429, "too many requests", false),
            (401, "Unauthorized", false),
        ] {
            let status = Status::failure(message, "X").with_code(code);
            let error = kube::Error::Api(Box::new(status));
            assert_eq!(denial_reason(&error).is_some(), denied, "{code} {message}");
        }
    }
}
