//! What the controller sees: agents, Pods, and the Sessions that were recorded for agents.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use k8s_openapi::{
    api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp,
};
use mirrord_sessions_crds::Session;

use super::{AGENT, Agent, AgentId, AgentKind, Found, PodView, Reporting, seen_versions::Versions};
use crate::agents::ContainerId;

/// A namespace and a name.
pub type Place = (Box<str>, Box<str>);

/// A Session that was recorded for an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// Which agent.
    pub agent: AgentId,
    /// The Session's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub uid: String,
    /// User name of its owner.
    pub owner: String,
    /// The line that says who runs it.
    pub user: String,
    /// What it targets.
    pub target: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its status was written.
    pub reported: bool,
    /// Its owner created it, before there was an agent: it is theirs to delete.
    pub adopted: bool,
}

/// What the controller sees. Kept by it, from what the API server tells.
#[derive(Debug, Default)]
pub struct View {
    jobs: HashMap<Place, Agent>,
    pods: HashMap<Place, PodView>,
    sessions: HashMap<Place, Recorded>,
    reporting: HashMap<Place, Reporting>,
    /// Those of them that are gone, until somebody asks.
    gone: Vec<Reporting>,
    by_agent: BTreeMap<AgentId, HashSet<Place>>,
    job_versions: Versions,
    session_versions: Versions,
}

/// Where an object is.
#[must_use]
pub fn place(meta: &ObjectMeta) -> Option<Place> {
    Some((meta.namespace.as_deref()?.into(), meta.name.as_deref()?.into()))
}

impl Recorded {
    /// What counts of a Session, if it was recorded for an agent, or an agent was tied to it.
    #[must_use]
    pub fn of(session: &Session) -> Option<Self> {
        let meta = &session.metadata;
        let owner = session.spec.owner.as_ref()?;
        let bound = session.status.as_ref().and_then(|s| s.agent.as_ref());
        let recorded_for = meta.annotations.as_ref().and_then(|all| all.get(AGENT));
        let agent = match recorded_for {
            Some(agent) => agent.parse().ok()?,
            None => AgentId::of(bound?)?,
        };
        Some(Self {
            agent,
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            owner: owner.username.clone(),
            user: session.spec.user_line().into_owned(),
            target: session.spec.target.clone(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            reported: bound.is_some(),
            adopted: recorded_for.is_none(),
        })
    }

    fn place(&self) -> Place {
        (self.namespace.as_str().into(), self.name.as_str().into())
    }
}

impl View {
    /// A Job is there, or has changed; the agents that this is about. What is older than what was
    /// seen of it before says nothing.
    pub fn apply_job(&mut self, job: &Job) -> Vec<AgentId> {
        let Some(place) = place(&job.metadata) else {
            return Vec::new();
        };
        if self.job_versions.is_past(&job.metadata) {
            return Vec::new();
        }
        let Some(agent) = Agent::of_job(job) else {
            return self.forget_job(&place);
        };
        let id = agent.id.clone();
        let before = self.jobs.insert(place, agent).map(|agent| agent.id);
        before.into_iter().filter(|before| *before != id).chain([id.clone()]).collect()
    }

    /// Jobs are about to be listed anew.
    pub fn listing_jobs(&mut self) {
        self.job_versions.clear();
    }

    /// A Job is gone.
    pub fn remove_job(&mut self, place: &Place) -> Vec<AgentId> {
        self.job_versions.forget(place);
        self.forget_job(place)
    }

    fn forget_job(&mut self, place: &Place) -> Vec<AgentId> {
        self.jobs.remove(place).map(|agent| agent.id).into_iter().collect()
    }

    /// All Jobs that are there: others are gone.
    pub fn retain_jobs(&mut self, there: &HashSet<Place>) -> Vec<AgentId> {
        self.job_versions.retain(there);
        let gone: Vec<Place> = missing(&self.jobs, there);
        gone.iter().flat_map(|place| self.remove_job(place)).collect()
    }

    /// A Pod is there, or has changed. `told` is when, if the API server told of it as it happened:
    /// agents that weren't in the Pod before came then.
    pub fn apply_pod(&mut self, mut pod: PodView, told: Option<Timestamp>) -> Vec<AgentId> {
        let place = (pod.namespace.clone(), pod.name.clone());
        let before = self.pods.get(&place).filter(|before| before.uid == pod.uid);
        for agent in &mut pod.agents {
            if let Some(before) = before {
                let known = before.agents.iter().find(|before| before.id == agent.id);
                agent.added = known.map_or(told, |known| known.added);
            }
        }
        let ids = |pod: &PodView| pod.agents.iter().map(|agent| agent.id.clone()).collect();
        let mut about: HashSet<AgentId> = ids(&pod);
        if let Some(before) = self.pods.insert(place, pod) {
            about.extend::<HashSet<_>>(ids(&before));
        }
        about.into_iter().collect()
    }

    /// A Pod is gone.
    pub fn remove_pod(&mut self, place: &Place) -> Vec<AgentId> {
        let pod = self.pods.remove(place);
        let agents = pod.map(|pod| pod.agents).unwrap_or_default();
        agents.iter().map(|agent| agent.id.clone()).collect()
    }

    /// All Pods that are there: others are gone.
    pub fn retain_pods(&mut self, there: &HashSet<Place>) -> Vec<AgentId> {
        let gone: Vec<Place> = missing(&self.pods, there);
        gone.iter().flat_map(|place| self.remove_pod(place)).collect()
    }

    /// A Session is there, or has changed. What is older than what was seen of it before says
    /// nothing.
    pub fn apply_session(&mut self, session: &Session) -> Vec<AgentId> {
        let Some(place) = place(&session.metadata) else {
            return Vec::new();
        };
        if self.session_versions.is_past(&session.metadata) {
            return Vec::new();
        }
        self.reporting.remove(&place);
        let mut about = self.remove_recorded(&place);
        if let Some(reporting) = Reporting::of(session) {
            self.reporting.insert(place, reporting);
        }
        if let Some(recorded) = Recorded::of(session) {
            about.push(recorded.agent.clone());
            self.insert_session(recorded);
        }
        about
    }

    /// Sessions are about to be listed anew.
    pub fn listing_sessions(&mut self) {
        self.session_versions.clear();
    }

    fn insert_session(&mut self, session: Recorded) {
        let place = session.place();
        self.by_agent.entry(session.agent.clone()).or_default().insert(place.clone());
        self.sessions.insert(place, session);
    }

    /// A Session is gone.
    pub fn remove_session(&mut self, place: &Place) -> Vec<AgentId> {
        self.session_versions.forget(place);
        self.gone.extend(self.reporting.remove(place));
        self.remove_recorded(place)
    }

    /// The Sessions that lived by reports, and are gone since this was asked last. Not those of
    /// which it was said before that they will be.
    pub fn take_gone(&mut self) -> Vec<Reporting> {
        mem::take(&mut self.gone)
    }

    /// This very Session, which lived by reports, is about to be gone, and nobody is to be told.
    pub fn forget_reporting(&mut self, session: &Reporting) {
        let place = (session.namespace.as_str().into(), session.name.as_str().into());
        let there = self.reporting.get(&place);
        if there.is_some_and(|there| there.uid == session.uid) {
            self.reporting.remove(&place);
        }
    }

    /// Whether this very Session is there, and lives by reports.
    #[must_use]
    pub fn is_reporting(&self, session: &Reporting) -> bool {
        let mut all = self.reporting.values();
        all.any(|there| there.uid == session.uid)
    }

    fn remove_recorded(&mut self, place: &Place) -> Vec<AgentId> {
        let Some(session) = self.sessions.remove(place) else {
            return Vec::new();
        };
        if let Some(places) = self.by_agent.get_mut(&session.agent) {
            places.remove(place);
            if places.is_empty() {
                self.by_agent.remove(&session.agent);
            }
        }
        vec![session.agent]
    }

    /// This very Session is gone.
    pub fn forget_session(&mut self, session: &Recorded) {
        let place = session.place();
        if self.sessions.get(&place).is_some_and(|there| there.uid == session.uid) {
            self.remove_session(&place);
        }
    }

    /// All Sessions that are there: others are gone.
    pub fn retain_sessions(&mut self, there: &HashSet<Place>) -> Vec<AgentId> {
        self.session_versions.retain(there);
        let mut gone: Vec<Place> = missing(&self.sessions, there);
        gone.extend(missing(&self.reporting, there));
        gone.iter().flat_map(|place| self.remove_session(place)).collect()
    }

    /// An agent, while it is there.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        let place = (id.namespace.as_str().into(), id.name.as_str().into());
        match id.kind {
            AgentKind::Job => self.jobs.get(&place).filter(|agent| agent.id == *id),
            AgentKind::Pod => {
                let pod = self.pods.get(&place)?;
                pod.agents.iter().find(|agent| agent.id == *id)
            }
        }
    }

    /// The Sessions that were recorded for an agent, the oldest first.
    #[must_use]
    pub fn sessions(&self, agent: &AgentId) -> Vec<Recorded> {
        let places = self.by_agent.get(agent).into_iter().flatten();
        let mut sessions: Vec<Recorded> =
            places.filter_map(|place| self.sessions.get(place).cloned()).collect();
        sessions.sort_by(|a, b| (a.created, &a.uid).cmp(&(b.created, &b.uid)));
        sessions
    }

    /// The Sessions that live by their owners' reports: no agent that runs vouches for them, and
    /// nobody has deleted them.
    pub fn unvouched(&self) -> impl Iterator<Item = &Reporting> {
        let stay = self.reporting.values().filter(|session| !session.going);
        stay.filter(|session| {
            let agent = session.agent.as_ref().and_then(|agent| self.agent(agent));
            agent.is_none_or(|agent| agent.ended)
        })
    }

    /// Every agent that is there or has a Session.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        let in_pods = self.pods.values().flat_map(|pod| &pod.agents);
        let there = self.jobs.values().chain(in_pods).map(|agent| &agent.id);
        let all: HashSet<&AgentId> = there.chain(self.by_agent.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// Which Pod has a container.
    #[must_use]
    pub fn find(&self, id: &ContainerId, node: Option<&str>) -> Found<'_> {
        PodView::find(self.pods.values(), id, node)
    }

    /// The Pod that an agent was added to.
    #[must_use]
    pub fn pod(&self, agent: &AgentId) -> Option<&PodView> {
        let place = (agent.namespace.as_str().into(), agent.name.as_str().into());
        self.pods.get(&place).filter(|pod| *pod.uid == *agent.uid)
    }

    /// How many Pods are known.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.pods.len()
    }
}

fn missing<T>(known: &HashMap<Place, T>, there: &HashSet<Place>) -> Vec<Place> {
    let gone = known.keys().filter(|place| !there.contains(*place));
    gone.cloned().collect()
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
