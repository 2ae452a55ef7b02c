//! Creates Sessions for agents.

use kube::{Api, api::PostParams};
use mirrord_sessions_core::controller::{
    Agent, AgentKind, Definition, Draft, NAMES, Recorded, Told, owner, session_name,
};
use mirrord_sessions_crds::Session;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Controller, Failed, Looked, Made,
    actions::{AGAIN, GO_ON, Next, binding},
};

impl Controller<'_> {
    /// Creates the Session of an agent.
    pub(crate) async fn record(&self, agent: &Agent) -> Next {
        let before = {
            let state = self.state();
            let made = state.recorded.get(&agent.id);
            made.map(|made| (made.at.elapsed(), made.binding.clone()))
        };
        if let Some((ago, binding)) = &before {
            // Deleted before the agent was tied to it: it is now, and ends with it.
            if agent.id.kind == AgentKind::Job && agent.bound().is_none() {
                return self.tie(&agent.id, binding).await;
            }
            if let Some(wait) = AGAIN.checked_sub(*ago) {
                return Ok(Some(Looked::Again(wait)));
            }
        }
        let past = self.endings.past(agent);
        let (draft, definition) = self.draft(agent).await?;
        let stopped = past.filter(|past| past.stops(agent, &definition));
        if let Some(past) = &stopped
            && agent.id.kind == AgentKind::Job
            && agent.bound().is_none()
        {
            info!(agent = %agent.id, "its Session was deleted before it was tied to it: it is now");
            let binding = past.binding(agent, &definition);
            return self.tie(&agent.id, &binding).await;
        }
        if agent.binding.is_some() && agent.bound().is_none() {
            warn!(agent = %agent.id, "the tie to a Session that it carries is none of its own, and counts nothing");
        }
        if draft.altered {
            info!(agent = %agent.id, "what the client says of itself is more than a Session holds: kept is what is fit to be shown");
        }
        let definition = definition.uid;
        if let Some(session) = self.adopted(agent, &draft).await? {
            return Ok(self.has_adopted(session, definition));
        }
        let session = match self.create(agent, &draft).await {
            // More likely a word of the client's that its schema doesn't take than anything else.
            Err(Failed::Refused(why)) if why.contains("is invalid") => {
                warn!(agent = %agent.id, why, "recorded without what the client says of itself");
                self.create(agent, &draft.clone().without_words()).await?
            }
            created => created?,
        };
        let Some(recorded) = Recorded::of(&session) else {
            return Ok(Some(Looked::Again(AGAIN)));
        };
        info!(
            session = recorded.name,
            namespace = recorded.namespace,
            agent = %agent.id,
            verified = draft.unverified.is_none(),
            resolved = draft.unresolved.is_none(),
            "recorded a run"
        );
        self.metrics.session("recorded");
        {
            let mut state = self.state();
            state.view.apply_session(&session);
            state.drafts.insert(agent.id.clone(), draft.clone());
            let made = Made { at: Instant::now(), binding: binding(&recorded, definition) };
            state.recorded.insert(agent.id.clone(), made);
        }
        for told in Told::of_record(&draft) {
            self.teller.of_session(&recorded, &told).await;
        }
        if self.endings.shares(&recorded, &draft.target) {
            self.teller.of_session(&recorded, &Told::shared(&recorded)).await;
        }
        if (before.is_some() || stopped.is_some()) && agent.id.kind == AgentKind::Pod {
            self.teller.of_session(&recorded, &Told::runs_on(&agent.id)).await;
        }
        Ok(GO_ON)
    }

    /// The Session to be, and the definition that it is made under.
    pub(crate) async fn draft(&self, agent: &Agent) -> Result<(Draft, Definition), Failed> {
        let ground = self.grounds.read().await.map_err(Failed::of("the guard can't be read"))?;
        let definition = match &ground.definition {
            Some(definition) if !definition.going => definition.clone(),
            _ => return Err(Failed::NoDefinition),
        };
        let target = self.target(agent).await?;
        let draft = Draft::new(agent, &target, &owner(agent, &ground));
        Ok((draft, definition))
    }

    /// Under the first of its names that no stranger has.
    async fn create(&self, agent: &Agent, draft: &Draft) -> Result<Session, Failed> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &draft.namespace);
        let mut names = Vec::new();
        for n in 0..NAMES {
            let name = session_name(&agent.id, n);
            let created = sessions.create(&PostParams::default(), &draft.session(&name)).await;
            let error = match created {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let kube::Error::Api(status) = &error else {
                return Err(Failed::of("the Session can't be created")(error));
            };
            match status.code {
                409 if status.reason == "AlreadyExists" => {}
                403 | 422 => return Err(Failed::Refused(status.message.clone())),
                _ => return Err(Failed::of("the Session can't be created")(error)),
            }
            let there = sessions.get_opt(&name).await;
            let there = there.map_err(Failed::of("a Session of its name can't be read"))?;
            if let Some(session) = there.filter(|there| draft.is(there)) {
                return Ok(session);
            }
            info!(session = name, agent = %agent.id, "the name is taken: taking the next");
            names.push(name);
        }
        Err(Failed::NoName { namespace: draft.namespace.clone(), names })
    }
}
