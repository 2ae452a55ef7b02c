//! The controller's cache of agents, Pods and Sessions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use mirrord_sessions_crds::Session;

use super::{
    Agent, AgentId, AgentKind, AgentPhase, CachedPod, ContainerMatch, HeartbeatSession,
    NamespacedName,
    agent_pod::{JobPod, phase_of_job},
    bounded_map::{BoundedMap, MemorySize},
    seen_versions::SeenVersions,
    session_plan::shown_phase,
};
use crate::{agents::ContainerId, sessions::tracker::AGENT_ANNOTATION};

/// A Session that is tied to an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentSession {
    /// The agent of the Session.
    pub agent: AgentId,
    /// The namespace of the Session.
    pub namespace: String,
    /// The name of the Session.
    pub name: String,
    /// The UID of the Session.
    pub uid: String,
    /// The user name of the Session's owner.
    pub owner: String,
    /// The line `whoami/k8s-user@hostname` that describes the user.
    pub user: String,
    /// The target of the Session.
    pub target: String,
    /// The creation time of the Session.
    pub created_at: Option<Timestamp>,
    /// Set once the controller has written the status.
    pub status_written: bool,
    /// The phase of the agent that the status shows.
    pub phase: Option<AgentPhase>,
    /// Set while the Session is being deleted and waits for a finalizer.
    pub deleting: bool,
    /// Set if the owner created the Session before the agent, so only the owner deletes it.
    pub adopted: bool,
}

/// The objects that the watches delivered, updated with the responses to the controller's writes.
#[derive(Debug)]
pub struct Cache {
    jobs: BoundedMap<Agent>,
    pods: BoundedMap<CachedPod>,
    /// The Pods of each Job, by UID of the Job.
    job_pods: HashMap<Box<str>, HashSet<NamespacedName>>,
    sessions: BoundedMap<AgentSession>,
    heartbeat_sessions: BoundedMap<HeartbeatSession>,
    /// Heartbeat Sessions that were deleted since the last drain.
    deleted_heartbeat_sessions: Vec<HeartbeatSession>,
    by_agent: BTreeMap<AgentId, HashSet<NamespacedName>>,
    job_versions: SeenVersions,
    session_versions: SeenVersions,
}

/// The memory budgets of the cache in bytes. Users create all of these objects.
const AGENT_BUDGET: usize = 4 << 20;
const POD_BUDGET: usize = 12 << 20;
const SESSION_BUDGET: usize = 4 << 20;
/// Memory beyond the budget for Pods with agents. Others can be read from the API server.
const AGENT_POD_RESERVE: usize = 4 << 20;
/// The memory budget of the whole cache in bytes.
pub const CACHE_BUDGET: usize = AGENT_BUDGET + POD_BUDGET + AGENT_POD_RESERVE + 2 * SESSION_BUDGET;

impl Default for Cache {
    fn default() -> Self {
        Self {
            jobs: BoundedMap::new(AGENT_BUDGET),
            pods: BoundedMap::new(POD_BUDGET),
            job_pods: HashMap::new(),
            sessions: BoundedMap::new(SESSION_BUDGET),
            heartbeat_sessions: BoundedMap::new(SESSION_BUDGET),
            deleted_heartbeat_sessions: Vec::new(),
            by_agent: BTreeMap::new(),
            job_versions: SeenVersions::default(),
            session_versions: SeenVersions::default(),
        }
    }
}

impl MemorySize for AgentSession {
    fn size(&self) -> usize {
        let Self { namespace, name, uid, owner, user, target, .. } = self;
        let texts = [namespace, name, uid, owner, user, target];
        // The agent is a key of another map too.
        2 * size_of::<Self>() + 1024 + texts.into_iter().map(String::len).sum::<usize>()
    }
}

impl AgentSession {
    /// Returns the Session if its annotation or status ties it to an agent.
    #[must_use]
    pub fn from_session(session: &Session) -> Option<Self> {
        let meta = &session.metadata;
        let owner = session.spec.owner.as_ref()?;
        let bound = session.status.as_ref().and_then(|status| status.agent.as_ref());
        let annotation = meta.annotations.as_ref().and_then(|all| all.get(AGENT_ANNOTATION));
        let agent = match annotation {
            Some(agent) => agent.parse().ok()?,
            None => AgentId::from_reference(bound?)?,
        };
        Some(Self {
            agent,
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            owner: owner.username.clone(),
            user: session.spec.user_line().into_owned(),
            target: session.spec.target.clone(),
            created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
            status_written: bound.is_some(),
            phase: session.status.as_ref().and_then(shown_phase),
            deleting: meta.deletion_timestamp.is_some(),
            adopted: annotation.is_none(),
        })
    }

    fn key(&self) -> NamespacedName {
        NamespacedName::new(&self.namespace, &self.name)
    }
}

impl Cache {
    /// Adds or updates a Job and returns the affected agents.
    ///
    /// Versions older than the newest one seen are ignored.
    pub fn apply_job(&mut self, job: &Job) -> Vec<AgentId> {
        let Some(key) = NamespacedName::from_meta(&job.metadata) else {
            return Vec::new();
        };
        if self.job_versions.is_stale(&job.metadata) {
            return Vec::new();
        }
        let Some(agent) = Agent::from_job(job) else {
            return self.remove_job_agent(&key);
        };
        let id = agent.id.clone();
        let replaced = self.jobs.insert(key, agent).map(|agent| agent.id);
        replaced.into_iter().filter(|replaced| *replaced != id).chain([id.clone()]).collect()
    }

    /// Prepares for a relist of Jobs, which may return older versions.
    pub fn begin_job_list(&mut self) {
        self.job_versions.clear();
    }

    /// Removes a Job and returns its agent.
    pub fn remove_job(&mut self, key: &NamespacedName) -> Vec<AgentId> {
        self.job_versions.remove(key);
        self.remove_job_agent(key)
    }

    fn remove_job_agent(&mut self, key: &NamespacedName) -> Vec<AgentId> {
        self.jobs.remove(key).map(|agent| agent.id).into_iter().collect()
    }

    /// Removes all Jobs except the listed ones and returns the removed agents.
    pub fn retain_jobs(&mut self, listed: &HashSet<NamespacedName>) -> Vec<AgentId> {
        self.job_versions.retain(listed);
        let removed = self.jobs.unlisted(listed);
        removed.iter().flat_map(|key| self.remove_job(key)).collect()
    }

    /// Adds or updates a Pod and returns the affected agents.
    ///
    /// `observed_at` is the time of the watch event, or `None` for a listed Pod. It becomes the
    /// start of agents that the cached Pod did not have.
    pub fn apply_pod(
        &mut self,
        mut pod: CachedPod,
        observed_at: Option<Timestamp>,
    ) -> Vec<AgentId> {
        let key = NamespacedName { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let cached = self.pods.get(&key).filter(|cached| cached.uid == pod.uid);
        for agent in &mut pod.agents {
            if let Some(cached) = cached {
                let known = cached.agents.iter().find(|known| known.id == agent.id);
                agent.added_at = known.map_or(observed_at, |known| known.added_at);
            }
        }
        let ids = |pod: &CachedPod| pod.agents.iter().map(|agent| agent.id.clone()).collect();
        let mut affected: HashSet<AgentId> = ids(&pod);
        let state = pod.job_pod.clone();
        if let Some(job_pod) = &state {
            self.job_pods.entry(job_pod.job_uid.clone()).or_default().insert(key.clone());
        }
        let reserve = if pod.has_agent() { AGENT_POD_RESERVE } else { 0 };
        let replaced = self.pods.insert_with_reserve(key.clone(), pod, reserve);
        if let Some(replaced) = &replaced {
            affected.extend::<HashSet<_>>(ids(replaced));
        }
        let previous = replaced.and_then(|replaced| replaced.job_pod);
        // Most changes of a Pod do not concern its agent.
        if previous != state {
            for job_pod in [&state, &previous].into_iter().flatten() {
                affected.extend(self.agent_of(&key.namespace, job_pod));
            }
        }
        if let Some(previous) = previous
            && state.is_none_or(|state| state.job_uid != previous.job_uid)
        {
            self.forget_job_pod(&previous, &key);
        }
        affected.into_iter().collect()
    }

    /// Returns the agent whose Job controls a Pod.
    fn agent_of(&self, namespace: &str, pod: &JobPod) -> Option<AgentId> {
        let agent = self.jobs.get(&NamespacedName::new(namespace, &pod.job))?;
        (*agent.id.uid == *pod.job_uid).then(|| agent.id.clone())
    }

    fn forget_job_pod(&mut self, pod: &JobPod, key: &NamespacedName) {
        if let Some(pods) = self.job_pods.get_mut(&pod.job_uid) {
            pods.remove(key);
            if pods.is_empty() {
                self.job_pods.remove(&pod.job_uid);
            }
        }
    }

    /// Returns the phase of a cached agent, or `None` if all of its Pods ended.
    #[must_use]
    pub fn phase(&self, agent: &Agent) -> Option<AgentPhase> {
        match agent.id.kind {
            // Ephemeral agents that have ended are not cached.
            AgentKind::Pod => Some(AgentPhase::Running),
            AgentKind::Job => {
                let keys = self.job_pods.get(&*agent.id.uid).into_iter().flatten();
                let pods = keys.filter_map(|key| self.pods.get(key)?.job_pod.as_ref());
                phase_of_job(agent.suspended, agent.deletion.is_some(), pods.map(|pod| &pod.state))
            }
        }
    }

    /// Returns whether objects were left out since the last call, since there are too many.
    pub fn take_overflowed(&mut self) -> bool {
        let jobs = self.jobs.take_overflowed() | self.pods.take_overflowed();
        jobs | self.sessions.take_overflowed() | self.heartbeat_sessions.take_overflowed()
    }

    /// Removes a Pod and returns its agents.
    pub fn remove_pod(&mut self, key: &NamespacedName) -> Vec<AgentId> {
        let Some(pod) = self.pods.remove(key) else {
            return Vec::new();
        };
        let mut affected: Vec<AgentId> = pod.agents.iter().map(|agent| agent.id.clone()).collect();
        if let Some(job_pod) = pod.job_pod {
            affected.extend(self.agent_of(&key.namespace, &job_pod));
            self.forget_job_pod(&job_pod, key);
        }
        affected
    }

    /// Removes all Pods except the listed ones and returns the removed agents.
    pub fn retain_pods(&mut self, listed: &HashSet<NamespacedName>) -> Vec<AgentId> {
        let removed = self.pods.unlisted(listed);
        removed.iter().flat_map(|key| self.remove_pod(key)).collect()
    }

    /// Adds or updates a Session and returns the affected agents.
    ///
    /// Versions older than the newest one seen are ignored.
    pub fn apply_session(&mut self, session: &Session) -> Vec<AgentId> {
        let Some(key) = NamespacedName::from_meta(&session.metadata) else {
            return Vec::new();
        };
        if self.session_versions.is_stale(&session.metadata) {
            return Vec::new();
        }
        self.heartbeat_sessions.remove(&key);
        let mut affected = self.remove_agent_session(&key);
        if let Some(session) = HeartbeatSession::from_session(session) {
            self.heartbeat_sessions.insert(key, session);
        }
        if let Some(session) = AgentSession::from_session(session) {
            affected.push(session.agent.clone());
            self.insert_agent_session(session);
        }
        affected
    }

    /// Prepares for a relist of Sessions, which may return older versions.
    pub fn begin_session_list(&mut self) {
        self.session_versions.clear();
    }

    fn insert_agent_session(&mut self, session: AgentSession) {
        let key = session.key();
        self.by_agent.entry(session.agent.clone()).or_default().insert(key.clone());
        self.sessions.insert(key, session);
    }

    /// Removes a deleted Session and returns its agent.
    pub fn remove_session(&mut self, key: &NamespacedName) -> Vec<AgentId> {
        self.session_versions.remove(key);
        self.deleted_heartbeat_sessions.extend(self.heartbeat_sessions.remove(key));
        self.remove_agent_session(key)
    }

    /// Drains heartbeat Sessions deleted since the last call, except those that the controller
    /// deleted itself.
    pub fn drain_deleted_heartbeat_sessions(&mut self) -> Vec<HeartbeatSession> {
        mem::take(&mut self.deleted_heartbeat_sessions)
    }

    /// Removes a heartbeat Session that the controller deleted, without reporting its deletion.
    pub fn forget_heartbeat_session(&mut self, session: &HeartbeatSession) {
        let key = NamespacedName::new(&session.namespace, &session.name);
        if self.heartbeat_sessions.get(&key).is_some_and(|cached| cached.uid == session.uid) {
            self.heartbeat_sessions.remove(&key);
        }
    }

    /// Returns whether the cache has a heartbeat Session with the same UID.
    #[must_use]
    pub fn has_heartbeat_session(&self, session: &HeartbeatSession) -> bool {
        self.heartbeat_sessions.values().any(|cached| cached.uid == session.uid)
    }

    fn remove_agent_session(&mut self, key: &NamespacedName) -> Vec<AgentId> {
        let Some(session) = self.sessions.remove(key) else {
            return Vec::new();
        };
        if let Some(keys) = self.by_agent.get_mut(&session.agent) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_agent.remove(&session.agent);
            }
        }
        vec![session.agent]
    }

    /// Removes a deleted Session unless another Session has taken its name.
    pub fn forget_session(&mut self, session: &AgentSession) {
        let key = session.key();
        if self.sessions.get(&key).is_some_and(|cached| cached.uid == session.uid) {
            self.remove_session(&key);
        }
    }

    /// Removes all Sessions except the listed ones and returns the affected agents.
    pub fn retain_sessions(&mut self, listed: &HashSet<NamespacedName>) -> Vec<AgentId> {
        self.session_versions.retain(listed);
        let mut removed = self.sessions.unlisted(listed);
        removed.extend(self.heartbeat_sessions.unlisted(listed));
        removed.iter().flat_map(|key| self.remove_session(key)).collect()
    }

    /// Returns a cached agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        let key = NamespacedName::new(&id.namespace, &id.name);
        match id.kind {
            AgentKind::Job => self.jobs.get(&key).filter(|agent| agent.id == *id),
            AgentKind::Pod => {
                let pod = self.pods.get(&key)?;
                pod.agents.iter().find(|agent| agent.id == *id)
            }
        }
    }

    /// Returns the Sessions of an agent, oldest first.
    #[must_use]
    pub fn sessions(&self, agent: &AgentId) -> Vec<AgentSession> {
        let keys = self.by_agent.get(agent).into_iter().flatten();
        let mut sessions: Vec<AgentSession> =
            keys.filter_map(|key| self.sessions.get(key).cloned()).collect();
        sessions.sort_by(|a, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
        sessions
    }

    /// Returns the Sessions that expire without heartbeats.
    ///
    /// Excludes Sessions with a running agent, which keeps them alive, and Sessions that are being
    /// deleted.
    pub fn sessions_requiring_heartbeats(&self) -> impl Iterator<Item = &HeartbeatSession> {
        self.heartbeat_sessions.values().filter(|session| {
            let agent = session.agent.as_ref().and_then(|agent| self.agent(agent));
            let runs = agent.is_some_and(|agent| !agent.ended && self.phase(agent).is_some());
            !session.deleting && !runs
        })
    }

    /// Returns every agent that is cached or has a cached Session.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        let in_pods = self.pods.values().flat_map(|pod| &pod.agents);
        let cached = self.jobs.values().chain(in_pods).map(|agent| &agent.id);
        let all: HashSet<&AgentId> = cached.chain(self.by_agent.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// Finds the Pod that has the container, on the given node if one is given.
    #[must_use]
    pub fn find_container(&self, id: &ContainerId, node: Option<&str>) -> ContainerMatch<'_> {
        CachedPod::find(self.pods.values(), id, node)
    }

    /// Returns the Pod of an ephemeral agent.
    #[must_use]
    pub fn pod(&self, agent: &AgentId) -> Option<&CachedPod> {
        let key = NamespacedName::new(&agent.namespace, &agent.name);
        self.pods.get(&key).filter(|pod| *pod.uid == *agent.uid)
    }

    /// Returns the number of cached Pods.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
