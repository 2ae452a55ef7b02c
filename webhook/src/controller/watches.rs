//! The watches that fill the view: agent Jobs, Pods, and Sessions.
//!
//! All Pods are watched, since nothing else tells of an agent that is added to one; of each only
//! what the core keeps is parsed. It also tells at once whose a container is: a restart changes its
//! id.

use std::{collections::HashSet, fmt::Debug, mem, pin::Pin, sync::Mutex, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use mirrord_sessions_core::{
    agents::LABEL,
    controller::{AgentId, Place, View, place},
    text::printable,
};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::{State, lock};
use crate::stored_objects::{StoredJob, StoredPod, StoredSession};

/// Objects a page of a list. A Pod may be large.
const PAGE: u32 = 250;

/// Between the tries of a watch that fails; doubled each time. Runs may be short: kube's own, half
/// a minute at the longest, would miss some.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

struct Pauses(Duration);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<K>>> + Send>>;

/// One watch.
struct Feed<K> {
    what: &'static str,
    events: Events<K>,
    /// What the list under way has told of.
    listed: HashSet<Place>,
    synced: bool,
    told: String,
}

/// What an event says.
enum Change<K> {
    /// The object is there; told by a list, or as it happened.
    There(K, Option<Timestamp>),
    Gone(Place),
    /// A list is under way.
    Listing,
    /// All that a list told of is all there is.
    Listed(HashSet<Place>),
    Nothing,
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Feed<K> {
    fn new(what: &'static str, api: Api<K>, config: watcher::Config) -> Self {
        let config = config.page_size(PAGE);
        Self {
            what,
            events: watcher(api, config).backoff(Pauses(FIRST_PAUSE)).boxed(),
            listed: HashSet::new(),
            synced: false,
            told: String::new(),
        }
    }

    async fn next(&mut self) -> Change<K> {
        let event = match self.events.next().await {
            Some(Ok(event)) => event,
            Some(Err(watcher::Error::WatchError(status))) if status.code == 410 => {
                debug!(what = self.what, "the watch is too old and starts anew");
                return Change::Nothing;
            }
            Some(Err(error)) => {
                // Once for each reason; what was seen before stays.
                let text = printable(&error.to_string(), 256);
                if self.told == text {
                    debug!(what = self.what, error = text, "they still can't be watched");
                } else {
                    warn!(what = self.what, error = text, "they can't be watched");
                    self.told = text;
                }
                return Change::Nothing;
            }
            // A watcher never ends.
            None => std::future::pending().await,
        };
        match event {
            watcher::Event::Apply(object) => Change::There(object, Some(Timestamp::now())),
            watcher::Event::InitApply(object) => {
                self.listed.extend(place(object.meta()));
                Change::There(object, None)
            }
            watcher::Event::Delete(object) => {
                place(object.meta()).map_or(Change::Nothing, Change::Gone)
            }
            watcher::Event::Init => {
                self.listed.clear();
                Change::Listing
            }
            watcher::Event::InitDone => {
                self.synced = true;
                self.told.clear();
                Change::Listed(mem::take(&mut self.listed))
            }
        }
    }
}

/// The three of them.
pub(crate) struct Feeds {
    jobs: Feed<StoredJob>,
    pods: Feed<StoredPod>,
    sessions: Feed<StoredSession>,
}

impl Feeds {
    pub(crate) fn new(client: &Client) -> Self {
        let agents = watcher::Config::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let all = watcher::Config::default;
        Self {
            jobs: Feed::new("agents", Api::all(client.clone()), agents),
            pods: Feed::new("pods", Api::all(client.clone()), all()),
            sessions: Feed::new("sessions", Api::all(client.clone()), all()),
        }
    }

    /// All of them were listed.
    pub(crate) fn synced(&self) -> bool {
        self.jobs.synced && self.pods.synced && self.sessions.synced
    }

    /// Takes the next event in; the agents that it is about.
    pub(crate) async fn next(&mut self, state: &Mutex<State>) -> Vec<AgentId> {
        tokio::select! {
            change = self.jobs.next() => take(&mut lock(state).view, change,
                |view, job, _| apply_job(view, job), View::remove_job, View::retain_jobs, View::listing_jobs),
            change = self.pods.next() => take(&mut lock(state).view, change,
                |view, pod, told| pod.view().map_or_else(Vec::new, |pod| view.apply_pod(pod, told)),
                View::remove_pod, View::retain_pods, |_| ()),
            change = self.sessions.next() => take(&mut lock(state).view, change,
                |view, session, _| apply_session(view, session),
                View::remove_session, View::retain_sessions, View::listing_sessions),
        }
    }
}

// One that can't be read must not hide the others, nor be taken for what it was before.

fn apply_job(view: &mut View, job: StoredJob) -> Vec<AgentId> {
    let there = place(&job.metadata);
    match job.read() {
        Ok(job) => view.apply_job(&job),
        Err(error) => {
            unreadable(there, &error).map_or_else(Vec::new, |place| view.remove_job(&place))
        }
    }
}

fn apply_session(view: &mut View, session: StoredSession) -> Vec<AgentId> {
    let there = place(&session.metadata);
    match session.read() {
        Ok(session) => view.apply_session(&session),
        Err(error) => {
            unreadable(there, &error).map_or_else(Vec::new, |place| view.remove_session(&place))
        }
    }
}

fn unreadable(place: Option<Place>, error: &str) -> Option<Place> {
    debug!(?place, error, "an object can't be read");
    place
}

fn take<K>(
    view: &mut View,
    change: Change<K>,
    apply: impl FnOnce(&mut View, K, Option<Timestamp>) -> Vec<AgentId>,
    remove: impl FnOnce(&mut View, &Place) -> Vec<AgentId>,
    retain: impl FnOnce(&mut View, &HashSet<Place>) -> Vec<AgentId>,
    listing: impl FnOnce(&mut View),
) -> Vec<AgentId> {
    match change {
        Change::There(object, told) => apply(view, object, told),
        Change::Gone(place) => remove(view, &place),
        Change::Listed(there) => retain(view, &there),
        Change::Listing => {
            listing(view);
            Vec::new()
        }
        Change::Nothing => Vec::new(),
    }
}
