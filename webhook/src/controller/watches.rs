//! The watches of agent Jobs, Pods and Sessions that feed the cache.
//!
//! All Pods are watched because the API cannot select Pods with an ephemeral agent. Only the cached
//! fields of a Pod are deserialized. The Pod cache also resolves the container of an agent to its
//! Pod without a request.

use std::{collections::HashSet, mem, sync::Mutex, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, Resource};
use mirrord_sessions_core::{
    agents::LABEL,
    controller::{AgentId, Cache, NamespacedName},
};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::{State, lock};
use crate::{
    list_watch::{self, Backoff, Changes, Item, ListWatch},
    stored_objects::{StoredJob, StoredPod, StoredSession},
};

/// The backoff of a failing watch. The maximum of kube's default, 30 s, would miss short runs.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A list and watch of one resource.
struct Watch<K> {
    resource: &'static str,
    changes: Changes<K>,
    /// The objects that the current list has returned so far.
    listed: HashSet<NamespacedName>,
    synced: bool,
    last_error: String,
}

/// A change of the cache that follows from a watch event.
enum Change<K> {
    /// An object was listed, or was added or updated at this time.
    Apply(K, Option<Timestamp>),
    /// An object was deleted, or can no longer be parsed. It must not be treated as its previous
    /// version.
    Delete(NamespacedName),
    /// A list starts, before its first object.
    ListStarted,
    /// A list is complete and returned exactly these objects.
    ListCompleted(HashSet<NamespacedName>),
    None,
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static> Watch<K> {
    fn new(resource: &'static str, objects: ListWatch<K>) -> Self {
        Self {
            resource,
            changes: objects.spawn(Backoff::new(INITIAL_BACKOFF, MAX_BACKOFF)),
            listed: HashSet::new(),
            synced: false,
            last_error: String::new(),
        }
    }

    async fn next(&mut self) -> Change<K> {
        match self.changes.next().await {
            list_watch::Change::Applied(item) => self.apply(item, Some(Timestamp::now())),
            list_watch::Change::Listed(item) => {
                let change = self.apply(item, None);
                if let Change::Apply(object, _) = &change {
                    self.listed.extend(NamespacedName::from_meta(object.meta()));
                }
                change
            }
            list_watch::Change::Deleted(identity) => {
                NamespacedName::from_meta(&identity.into_meta())
                    .map_or(Change::None, Change::Delete)
            }
            list_watch::Change::ListStarted => {
                self.listed.clear();
                Change::ListStarted
            }
            list_watch::Change::ListCompleted => {
                self.synced = true;
                self.last_error.clear();
                Change::ListCompleted(mem::take(&mut self.listed))
            }
            list_watch::Change::Failed(error) => {
                self.log_error(&error);
                Change::None
            }
        }
    }

    fn apply(&self, item: Item<K>, observed_at: Option<Timestamp>) -> Change<K> {
        match item {
            Ok(object) => Change::Apply(object, observed_at),
            Err(identity) => {
                let key = NamespacedName::from_meta(&identity.into_meta());
                log_unreadable(self.resource, key.as_ref());
                key.map_or(Change::None, Change::Delete)
            }
        }
    }

    /// Logs an error, at debug level if it is the same as the last one.
    fn log_error(&mut self, error: &list_watch::Error) {
        if let list_watch::Error::Expired = error {
            return debug!(resource = self.resource, "resource version expired, listing again");
        }
        let error = error.to_string();
        if self.last_error == error {
            debug!(resource = self.resource, error, "watch still fails");
        } else {
            warn!(resource = self.resource, error, "watch failed, retrying with backoff");
            self.last_error = error;
        }
    }
}

/// The watches of all resources that the controller caches.
pub(crate) struct Watches {
    jobs: Watch<StoredJob>,
    pods: Watch<StoredPod>,
    sessions: Watch<StoredSession>,
}

impl Watches {
    pub(crate) fn new(client: &Client) -> Self {
        let agents = format!("{}={}", LABEL.0, LABEL.1);
        Self {
            jobs: Watch::new("agents", ListWatch::all(client.clone()).with_labels(&agents)),
            pods: Watch::new("pods", ListWatch::all(client.clone())),
            sessions: Watch::new("sessions", ListWatch::all(client.clone())),
        }
    }

    /// Returns whether every resource was listed completely at least once.
    pub(crate) fn synced(&self) -> bool {
        self.jobs.synced && self.pods.synced && self.sessions.synced
    }

    /// Waits for the next event, applies it to the cache, and returns the affected agents.
    pub(crate) async fn next(&mut self, state: &Mutex<State>) -> Vec<AgentId> {
        tokio::select! {
            change = self.jobs.next() => {
                let cache = &mut lock(state).cache;
                match change {
                    Change::Apply(job, _) => apply_job(cache, job),
                    Change::Delete(key) => cache.remove_job(&key),
                    Change::ListStarted => {
                        cache.begin_job_list();
                        Vec::new()
                    }
                    Change::ListCompleted(listed) => cache.retain_jobs(&listed),
                    Change::None => Vec::new(),
                }
            }
            change = self.pods.next() => {
                let cache = &mut lock(state).cache;
                match change {
                    Change::Apply(pod, observed_at) => apply_pod(cache, pod, observed_at),
                    Change::Delete(key) => cache.remove_pod(&key),
                    Change::ListCompleted(listed) => cache.retain_pods(&listed),
                    Change::ListStarted | Change::None => Vec::new(),
                }
            }
            change = self.sessions.next() => {
                let cache = &mut lock(state).cache;
                match change {
                    Change::Apply(session, _) => apply_session(cache, session),
                    Change::Delete(key) => cache.remove_session(&key),
                    Change::ListStarted => {
                        cache.begin_session_list();
                        Vec::new()
                    }
                    Change::ListCompleted(listed) => cache.retain_sessions(&listed),
                    Change::None => Vec::new(),
                }
            }
        }
    }
}

fn apply_job(cache: &mut Cache, job: StoredJob) -> Vec<AgentId> {
    let key = NamespacedName::from_meta(&job.metadata);
    if let Some(job) = job.parse() {
        return cache.apply_job(&job);
    }
    log_unreadable("agents", key.as_ref());
    key.map_or_else(Vec::new, |key| cache.remove_job(&key))
}

fn apply_pod(cache: &mut Cache, pod: StoredPod, observed_at: Option<Timestamp>) -> Vec<AgentId> {
    pod.into_cached().map_or_else(Vec::new, |pod| cache.apply_pod(pod, observed_at))
}

fn apply_session(cache: &mut Cache, session: StoredSession) -> Vec<AgentId> {
    let key = NamespacedName::from_meta(&session.metadata);
    if let Some(session) = session.parse() {
        return cache.apply_session(&session);
    }
    log_unreadable("sessions", key.as_ref());
    key.map_or_else(Vec::new, |key| cache.remove_session(&key))
}

fn log_unreadable(resource: &'static str, key: Option<&NamespacedName>) {
    debug!(resource, ?key, "ignoring an object that cannot be parsed");
}
