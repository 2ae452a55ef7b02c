//! Reviews that are decided on by what is known of sessions.

use std::sync::Arc;

use mirrord_sessions_core::{identity::Requester, sessions::STOPPED};

use crate::admission::{self, AgentReview, Neighbours, Stop};
use crate::apiserver::Api;

impl Neighbours for Api {
    fn warning(&self, namespace: &str, names: &[&str], requester: &Requester) -> Option<String> {
        self.store.neighbours(namespace, names, requester)
    }
}

impl Api {
    /// Answers the review of a Session's deletion, and notes who asked for what is about to go.
    pub(crate) async fn stop(&self, stop: Stop) -> Result<admission::Answer, admission::Error> {
        let may_join = match stop.asks_joining(self.store.policies().ok().as_deref()) {
            Some(namespace) => {
                let requester = Arc::new(stop.requester().clone());
                self.rights.may(&requester, Some(namespace)).await
            }
            None => false,
        };
        let by = stop.requester().clone();
        // Those that decide now, not when the question was asked.
        let policies = self.store.policies().ok();
        let (answer, session) = stop.answer(policies.as_deref(), may_join)?;
        // The controller has said why before.
        if let Some(uid) = session.and_then(|session| session.metadata.uid)
            && !by.is_controller()
        {
            self.store.closing_session(&uid, STOPPED, Some(&by.username));
        }
        Ok(answer)
    }

    /// Answers the review of an agent. Its target is looked for where others have sessions at all.
    pub(crate) async fn stamp_agent(
        &self,
        agent: AgentReview,
    ) -> Result<admission::Answer, admission::Error> {
        let sought = agent.sought();
        let sought = sought.filter(|_| self.store.has_others(&agent.requester().username));
        let target = match sought {
            Some(sought) => self.targets.find(sought).await,
            None => None,
        };
        agent.answer(target.as_ref(), self)
    }
}
