//! The watches of agent Jobs, Pods and Sessions that feed the cache.
//!
//! All Pods are watched because the API cannot select Pods with an ephemeral agent. Only the cached
//! fields of a Pod are deserialized. The Pod cache also resolves the container of an agent to its
//! Pod without a request.

use std::{collections::HashSet, fmt::Debug, mem, pin::Pin, sync::Mutex, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use mirrord_sessions_core::{
    agents::LABEL,
    controller::{AgentId, Cache, NamespacedName},
    text::printable,
};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::{State, lock};
use crate::stored_objects::{StoredJob, StoredPod, StoredSession};

/// The number of objects in a page of a list. Pods may be large.
const PAGE_SIZE: u32 = 250;

/// The backoff of a failing watch. The maximum of kube's default, 30 s, would miss short runs.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

struct WatchBackoff(Duration);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.0;
        self.0 = (delay * 2).min(MAX_BACKOFF);
        Some(delay)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0 = INITIAL_BACKOFF;
    }
}

type EventStream<K> = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<K>>> + Send>>;

/// A list and watch of one resource.
struct Watch<K> {
    resource: &'static str,
    events: EventStream<K>,
    /// The objects that the current list has returned so far.
    listed: HashSet<NamespacedName>,
    synced: bool,
    last_error: String,
}

/// A change of the cache that follows from a watch event.
enum Change<K> {
    /// An object was listed, or was added or updated at this time.
    Apply(K, Option<Timestamp>),
    Delete(NamespacedName),
    /// A list starts, before its first object.
    ListStarted,
    /// A list is complete and returned exactly these objects.
    ListCompleted(HashSet<NamespacedName>),
    None,
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watch<K> {
    fn new(resource: &'static str, api: Api<K>, config: watcher::Config) -> Self {
        let config = config.page_size(PAGE_SIZE);
        Self {
            resource,
            events: watcher(api, config).backoff(WatchBackoff(INITIAL_BACKOFF)).boxed(),
            listed: HashSet::new(),
            synced: false,
            last_error: String::new(),
        }
    }

    async fn next(&mut self) -> Change<K> {
        let event = match self.events.next().await {
            Some(Ok(event)) => event,
            Some(Err(watcher::Error::WatchError(status))) if status.code == 410 => {
                debug!(resource = self.resource, "resource version expired, listing again");
                return Change::None;
            }
            Some(Err(error)) => {
                self.log_error(&error);
                return Change::None;
            }
            // The stream of a watcher never ends.
            None => std::future::pending().await,
        };
        match event {
            watcher::Event::Apply(object) => Change::Apply(object, Some(Timestamp::now())),
            watcher::Event::InitApply(object) => {
                self.listed.extend(NamespacedName::from_meta(object.meta()));
                Change::Apply(object, None)
            }
            watcher::Event::Delete(object) => {
                NamespacedName::from_meta(object.meta()).map_or(Change::None, Change::Delete)
            }
            watcher::Event::Init => {
                self.listed.clear();
                Change::ListStarted
            }
            watcher::Event::InitDone => {
                self.synced = true;
                self.last_error.clear();
                Change::ListCompleted(mem::take(&mut self.listed))
            }
        }
    }

    /// Logs an error, at debug level if it is the same as the last one.
    fn log_error(&mut self, error: &watcher::Error) {
        let error = printable(&error.to_string(), 256);
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
        let agents = watcher::Config::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let all = watcher::Config::default;
        Self {
            jobs: Watch::new("agents", Api::all(client.clone()), agents),
            pods: Watch::new("pods", Api::all(client.clone()), all()),
            sessions: Watch::new("sessions", Api::all(client.clone()), all()),
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

// An object that cannot be parsed is removed from the cache. It must neither stop the watch nor be
// treated as its previous version.

fn apply_job(cache: &mut Cache, job: StoredJob) -> Vec<AgentId> {
    let key = NamespacedName::from_meta(&job.metadata);
    match job.parse() {
        Ok(job) => cache.apply_job(&job),
        Err(error) => {
            log_parse_error(key.as_ref(), &error);
            key.map_or_else(Vec::new, |key| cache.remove_job(&key))
        }
    }
}

fn apply_pod(cache: &mut Cache, pod: StoredPod, observed_at: Option<Timestamp>) -> Vec<AgentId> {
    pod.into_cached().map_or_else(Vec::new, |pod| cache.apply_pod(pod, observed_at))
}

fn apply_session(cache: &mut Cache, session: StoredSession) -> Vec<AgentId> {
    let key = NamespacedName::from_meta(&session.metadata);
    match session.parse() {
        Ok(session) => cache.apply_session(&session),
        Err(error) => {
            log_parse_error(key.as_ref(), &error);
            key.map_or_else(Vec::new, |key| cache.remove_session(&key))
        }
    }
}

fn log_parse_error(key: Option<&NamespacedName>, error: &str) {
    debug!(?key, error, "failed to parse an object");
}
