//! Sessions that have ended, kept for a while as ConfigMaps of the system namespace: so that a
//! replica that starts later shows them too, and all replicas say the same of them.
//!
//! Each replica shows by itself that a session has ended, when its watch tells that the Session is
//! gone. The one that knows why, since it answered the review of the deletion or deleted the
//! Session itself, keeps the record at once. Where nobody does, for what was deleted past this
//! process or because the replica that knew is gone, any of the others does some seconds later, and
//! says no more than that it was deleted. A record holds the tracker without key and filters, as
//! everybody may see it who sees the session.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_core::{
    sessions::{
        Tracker,
        ended_records::{self, Record},
    },
    text::printable,
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::json;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::store::Store;
use crate::apiserver::watch_stream::now;

/// What all records carry, and nothing else.
const LABEL: &str = "visibility.operator.metalbear.co/record";
const VALUE: &str = "terminated";
/// Where a record holds the tracker.
const FIELD: &str = "tracker";
/// Where it holds the agent that the Session was recorded for, which trackers don't show.
const AGENT: &str = "agent";
/// Larger ones aren't kept: no ConfigMap is over 1 MiB.
const MAX_RECORD: usize = 512 << 10;
/// Records a page of the list.
const PAGE: u32 = 500;
/// Writes at once: many sessions may end together.
const WRITES: usize = 8;
/// Records that are written before others are looked at.
const BATCH: usize = 64;
/// Records that are deleted a second, at most.
const DELETES: usize = 512;
/// Ended sessions that wait to be kept; the first of more are given up.
const WAITING: usize = 10_000;
/// How long those who know why a session ended have to say so, before somebody keeps it who
/// doesn't.
const GRACE: Duration = Duration::from_secs(3);
/// Replicas wait longer than needed by up to this, each by its own: then most often one does the
/// work.
const SPREAD: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(10);
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The records, as one replica sees and makes them.
#[derive(Debug)]
pub(crate) struct Records {
    maps: Api<ConfigMap>,
    store: Arc<Store>,
    held: Mutex<ended_records::Records>,
    random: RandomState,
}

impl Records {
    pub(crate) fn new(client: Client, namespace: &str, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            maps: Api::namespaced(client, namespace),
            store,
            held: Mutex::default(),
            random: RandomState::new(),
        })
    }

    /// Keeps what ends, shows what others keep, and ends both in time; for ever.
    pub(crate) async fn run(&self, ended: UnboundedReceiver<Arc<Tracker>>) {
        let Some(keeps) = self.store.keeps() else {
            return std::future::pending().await;
        };
        tokio::join!(self.follow(), self.keep(ended, keeps), self.lapse(), self.clear(keeps));
    }

    /// What is kept. What can't be read isn't waited for: it is the least of what is served.
    pub(crate) async fn list(&self) -> Vec<Arc<Tracker>> {
        if self.store.keeps().is_none() {
            return Vec::new();
        }
        let mut params = ListParams::default().labels(&format!("{LABEL}={VALUE}")).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = match timeout(PATIENCE, self.maps.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    let error = printable(&error.to_string(), 300);
                    warn!(error, "sessions that have ended can't be listed");
                    return found;
                }
                Err(_) => return found,
            };
            found.extend(page.items.iter().filter_map(tracker));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return found;
            }
        }
    }

    /// Shows what others keep.
    async fn follow(&self) {
        let config = watcher::Config::default().labels(&format!("{LABEL}={VALUE}"));
        let mut events = watcher(self.maps.clone(), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => self.held().listing(),
                Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => self.seen(&map),
                Ok(watcher::Event::InitDone) => {
                    let gone = self.held().unlisted();
                    for name in gone {
                        self.gone(&name);
                    }
                }
                Ok(watcher::Event::Delete(map)) => self.gone(&map.name_any()),
                Err(error) => {
                    let error = printable(&error.to_string(), 300);
                    debug!(error, "sessions that have ended can't be watched");
                }
            }
        }
    }

    fn seen(&self, map: &ConfigMap) {
        let Some(tracker) = tracker(map) else {
            return;
        };
        let record = Record::new(
            tracker.key.clone(),
            tracker.uid.clone(),
            map.metadata.uid.clone(),
            tracker.ended.unwrap_or_default(),
            tracker.form(false).object.len(),
        );
        self.held().seen(map.name_any(), record);
        self.store.restore(&tracker);
    }

    fn gone(&self, name: &str) {
        let held = self.held().gone(name);
        if let Some(held) = held {
            self.store.forget(&held.key, &held.session);
        }
    }

    /// Keeps what ends.
    async fn keep(&self, mut ended: UnboundedReceiver<Arc<Tracker>>, keeps: i64) {
        let mut waiting: BTreeMap<(Instant, u64), Arc<Tracker>> = BTreeMap::new();
        let mut number = 0;
        let mut told = String::new();
        loop {
            let next = waiting.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                tracker = ended.recv() => {
                    let Some(tracker) = tracker else {
                        return std::future::pending().await;
                    };
                    let wait = if says_more(&tracker) { Duration::ZERO } else { self.spread(&tracker.uid, GRACE) };
                    number += 1;
                    waiting.insert((Instant::now() + wait, number), tracker);
                    if waiting.len() > WAITING {
                        waiting.pop_first();
                    }
                    continue;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(first) = waiting.first_entry()
                && first.key().0 <= Instant::now()
            {
                batch.push(first.remove());
            }
            let failed: Vec<_> = stream::iter(batch)
                .map(|tracker| async move { (self.put(&tracker, keeps).await, tracker) })
                .buffer_unordered(WRITES)
                .filter_map(|(put, tracker)| std::future::ready(put.err().map(|e| (e, tracker))))
                .collect()
                .await;
            for (error, tracker) in failed {
                if told != error {
                    warn!(
                        error,
                        "a session that has ended can't be kept: a replica that starts later won't show it"
                    );
                    told = error;
                }
                number += 1;
                waiting.insert((Instant::now() + RETRY, number), tracker);
            }
        }
    }

    async fn put(&self, tracker: &Tracker, keeps: i64) -> Result<(), String> {
        let json = String::from_utf8_lossy(&tracker.form(false).object);
        let over = tracker.ended.is_none_or(|ended| ended + keeps < now());
        let Some(name) = name(&tracker.uid).filter(|_| !over && json.len() <= MAX_RECORD) else {
            return Ok(());
        };
        let record = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "labels": { LABEL: VALUE } },
            "data": { FIELD: json, AGENT: tracker.recorded_for.as_deref().unwrap_or_default() },
        });
        let written = async {
            if says_more(tracker) {
                let params = PatchParams::apply(WEBHOOK_NAME).force();
                return self.maps.patch(&name, &params, &Patch::Apply(&record)).await;
            }
            // Whatever is there says as much.
            if self.held().has(&name) {
                return Ok(ConfigMap::default());
            }
            let map = serde_json::from_value(record).map_err(kube::Error::SerdeError)?;
            self.maps.create(&PostParams::default(), &map).await
        };
        match timeout(PATIENCE, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(printable(&error.to_string(), 300)),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    /// Ends in time what is shown, however long it takes to end what is kept.
    async fn lapse(&self) {
        let mut tick = each_second();
        loop {
            tick.tick().await;
            self.store.lapse();
        }
    }

    /// Ends what is kept, some time after it was shown. Of more than are shown the oldest go at
    /// once, whoever kept them: a replica that is gone clears nothing up.
    async fn clear(&self, keeps: i64) {
        let mut tick = each_second();
        loop {
            tick.tick().await;
            let due = self.held().due(now() - keeps, DELETES, |record| {
                let spread = self.spread(&record.session, Duration::from_secs(1));
                i64::try_from(spread.as_secs()).unwrap_or_default()
            });
            stream::iter(due)
                .for_each_concurrent(WRITES, |(name, uid)| self.delete(name, uid))
                .await;
        }
    }

    async fn delete(&self, name: String, uid: Option<String>) {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match timeout(PATIENCE, self.maps.delete(&name, &params)).await {
            // Gone, by whoever: the watch may tell so later.
            Ok(Ok(_)) => self.gone(&name),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.gone(&name);
            }
            Ok(Err(error)) => {
                let error = printable(&error.to_string(), 300);
                debug!(error, name, "a record can't be deleted yet");
            }
            Err(_) => debug!(name, "a record can't be deleted yet"),
        }
    }

    /// At least this long, and some more that differs between replicas.
    fn spread(&self, uid: &str, least: Duration) -> Duration {
        let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.random.hash_one(uid) % spread)
    }

    fn held(&self) -> MutexGuard<'_, ended_records::Records> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn each_second() -> Interval {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

fn says_more(tracker: &Tracker) -> bool {
    tracker.ending().is_some_and(|ending| ending.is_known())
}

/// The record of the session of that identifier; none if it makes no name.
fn name(uid: &str) -> Option<String> {
    let fits = !uid.is_empty()
        && uid.len() <= 200
        && !uid.ends_with('-')
        && uid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    fits.then(|| format!("{VALUE}-{uid}"))
}

fn tracker(map: &ConfigMap) -> Option<Arc<Tracker>> {
    let json = map.data.as_ref()?.get(FIELD)?;
    match Tracker::kept(json) {
        // Of another session than its name says: nobody here writes that.
        Ok(tracker) if name(&tracker.uid) != map.metadata.name => None,
        Ok(tracker) => {
            let agent = map.data.as_ref().and_then(|data| data.get(AGENT));
            let agent = agent.filter(|agent| !agent.is_empty());
            Some(Arc::new(match agent {
                Some(agent) => tracker.of_agent(agent),
                None => tracker,
            }))
        }
        Err(error) => {
            let error = printable(&error.to_string(), 256);
            debug!(name = map.name_any(), error, "a record can't be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use mirrord_sessions_core::sessions::Ending;

    use super::*;
    use crate::sessions::store::tests::tracker;

    #[tokio::test]
    async fn what_cannot_be_deleted_keeps_nothing_shown() {
        let silent = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let (store, ended) = Store::keeping(Duration::from_secs(1));
        let over = tracker("over", 5).ended(&Ending::unknown(now()), 6);
        let over = Arc::new(over.unwrap());
        store.replace(Vec::new(), &[Arc::clone(&over)], 10);
        assert_eq!(store.index().len(), 1);
        let client = Client::new(silent, "default");
        let records = Records::new(client, "default", Arc::clone(&store));
        // Long over: its deletion is waited for.
        let old = Record::new(over.key.clone(), "old".into(), None, 0, 1);
        records.held().seen("old".into(), old);
        let mut changes = store.changes();
        let gone = changes.wait_for(|_| store.index().is_empty());
        tokio::select! {
            () = records.run(ended) => {}
            gone = timeout(PATIENCE / 2, gone) => {
                gone.unwrap().unwrap();
            }
        }
        assert!(store.index().is_empty());
    }
}
