//! Sessions that were created for a run before its agent: by `kubectl mirrord-sessions run`.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mirrord_sessions_core::{
    controller::{Agent, Draft, Recorded, adoption, claim},
    text::printable,
};
use mirrord_sessions_crds::{Session, SessionId, SessionState};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Controller, Failed, Looked, Made,
    actions::{GO_ON, Next, binding, is_gone},
};

/// How often a Session is read again that changes while an agent is tied to it.
const TRIES: u32 = 4;

impl Controller<'_> {
    /// The Session that the client created for the run, with this agent tied to it; none where it
    /// says nothing of one, or that isn't the agent's.
    pub(crate) async fn adopted(
        &self,
        agent: &Agent,
        draft: &Draft,
    ) -> Result<Option<Recorded>, Failed> {
        let refused = match claim(agent, draft) {
            None => return Ok(None),
            Some(Ok(id)) => match self.adopt(agent, draft, &id).await? {
                Ok(session) => return Ok(Some(session)),
                Err(why) => why,
            },
            Some(Err(why)) => why,
        };
        let name = agent.words.session.as_deref().unwrap_or_default();
        let session = printable(name, 64);
        warn!(agent = %agent.id, session, why = refused, "not tied to the Session that its client names: it gets its own");
        Ok(None)
    }

    async fn adopt(
        &self,
        agent: &Agent,
        draft: &Draft,
        id: &SessionId,
    ) -> Result<Result<Recorded, &'static str>, Failed> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &draft.namespace);
        for _ in 0..TRIES {
            let stored = sessions.get_opt(id.name()).await;
            let stored = stored.map_err(Failed::of("the Session of its run can't be read"))?;
            if let Err(why) = adoption(agent, draft, stored.as_ref()) {
                return Ok(Err(why));
            }
            let meta = stored.map(|session| session.metadata).unwrap_or_default();
            // Exactly the one that was decided on.
            let patch = Patch::Merge(json!({
                "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
                "status": { "state": SessionState::Running, "agent": draft.status.agent },
            }));
            let params = PatchParams::default();
            let tied = sessions.patch_status(id.name(), &params, &patch);
            match tied.await {
                Ok(session) => {
                    self.state().view.apply_session(&session);
                    return Ok(Recorded::of(&session).ok_or("it can't be read"));
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                    return Ok(Err("the API server refuses to tie the agent to it"));
                }
                Err(error) => {
                    return Err(Failed::of("the agent can't be tied to its run's Session")(error));
                }
            }
        }
        Ok(Err("it changes all the time"))
    }

    pub(crate) fn has_adopted(&self, session: Recorded, definition: String) -> Option<Looked> {
        info!(
            session = session.name,
            namespace = session.namespace,
            agent = %session.agent,
            "tied a run to the Session that was created for it"
        );
        self.metrics.session("adopted");
        let made = Made { at: Instant::now(), binding: binding(&session, definition) };
        self.state().recorded.insert(session.agent, made);
        GO_ON
    }

    /// Unties a Session from its agent: whoever created it deletes it, or its reports cease.
    pub(crate) async fn release(&self, session: &Recorded) -> Next {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &session.namespace);
        let patch = Patch::Merge(json!({
            "metadata": { "uid": session.uid }, "status": { "agent": null },
        }));
        let params = PatchParams::default();
        let released = sessions.patch_status(&session.name, &params, &patch);
        match released.await {
            Ok(stored) => {
                self.state().view.apply_session(&stored);
                info!(
                    session = session.name,
                    namespace = session.namespace,
                    "the agent of a run ended: its Session is left to who created it"
                );
            }
            Err(error) if is_gone(&error) => self.state().view.forget_session(session),
            Err(error) => {
                return Err(Failed::of("the Session can't be untied from its agent")(error));
            }
        }
        Ok(GO_ON)
    }
}
