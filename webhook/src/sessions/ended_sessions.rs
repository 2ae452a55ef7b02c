//! Records of ended sessions, stored for some minutes as Secrets of the system namespace.
//!
//! Records let a replica that starts later show ended sessions too, and make all replicas show the
//! same reason. Each replica shows the end of a session by itself when its watch reports the
//! deletion. The replica that knows the reason stores the record at once: it answered the admission
//! review of the deletion, or deleted the Session itself. If no replica knows the reason, any of
//! them stores a record some seconds later, with the reason `deleted`. That happens if the deletion
//! bypassed this process, or if the replica that knew has stopped. A record holds the tracker
//! without key and filters, so that it may be shown to any user who may see the session.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_core::{
    sessions::{
        Tracker,
        ended_session_records::{EndedSessionRecord, EndedSessionRecords},
    },
    text::printable,
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::{earlier_records::EarlierRecords, ended_session_record, store::Store};
use crate::clock::unix_now;

/// The page size of lists.
const PAGE_SIZE: u32 = 500;
/// The maximum number of concurrent writes, since many sessions may end together.
const MAX_CONCURRENT: usize = 8;
/// The maximum number of records written before new ones are received.
const BATCH_SIZE: usize = 64;
/// The maximum number of records deleted per second.
const MAX_DELETES: usize = 512;
/// The maximum number of queued records. Beyond it the first are dropped.
const QUEUE_LENGTH: usize = 10_000;
/// The memory of queued records in bytes at most. Beyond it the first are dropped.
pub(crate) const QUEUE_BUDGET: usize = 4 << 20;
/// Delay of replicas that don't know the reason of an end, in favour of the one that does.
const REASON_GRACE: Duration = Duration::from_secs(3);
/// The maximum random delay of each replica, so that usually only one of them writes.
const MAX_JITTER: Duration = Duration::from_secs(4);
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// The timeout of one API call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Stores the records of ended sessions, and restores those of other replicas.
#[derive(Debug)]
pub(crate) struct EndedSessionStore {
    secrets: Api<Secret>,
    store: Arc<Store>,
    earlier_records: EarlierRecords,
    records: Mutex<EndedSessionRecords>,
    random: RandomState,
}

impl EndedSessionStore {
    pub(crate) fn new(client: Client, namespace: &str, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            secrets: Api::namespaced(client.clone(), namespace),
            earlier_records: EarlierRecords::new(client, namespace),
            store,
            records: Mutex::default(),
            random: RandomState::new(),
        })
    }

    /// Writes, restores and deletes records. Never returns.
    pub(crate) async fn run(&self, ended: UnboundedReceiver<Arc<Tracker>>) {
        let Some(retention) = self.store.retention_seconds() else {
            return std::future::pending().await;
        };
        tokio::join!(
            self.watch_records(),
            self.write_records(ended, retention),
            self.remove_expired_trackers(),
            self.delete_expired_records(retention),
            self.earlier_records.migrate(self, retention),
        );
    }

    /// Lists the trackers of all records.
    ///
    /// If the API server fails, returns the trackers read so far, since a fast start matters more
    /// than ended sessions.
    pub(crate) async fn list(&self) -> Vec<Arc<Tracker>> {
        if self.store.retention_seconds().is_none() {
            return Vec::new();
        }
        let mut params =
            ListParams::default().labels(&ended_session_record::label_selector()).limit(PAGE_SIZE);
        let mut trackers = Vec::new();
        loop {
            let page = match timeout(TIMEOUT, self.secrets.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    let error = printable(&error.to_string(), 300);
                    warn!(error, "failed to list the records of ended sessions");
                    return trackers;
                }
                Err(_) => return trackers,
            };
            trackers.extend(page.items.iter().filter_map(ended_session_record::parse));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return trackers;
            }
        }
    }

    /// Restores the records that other replicas write, and removes those that they delete.
    async fn watch_records(&self) {
        let config = watcher::Config::default().labels(&ended_session_record::label_selector());
        let mut events = watcher(self.secrets.clone(), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => self.records().start_list(),
                Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => {
                    self.apply_record(&secret);
                }
                Ok(watcher::Event::InitDone) => {
                    let unlisted = self.records().unlisted();
                    for name in unlisted {
                        self.remove_record(&name);
                    }
                }
                Ok(watcher::Event::Delete(secret)) => {
                    self.remove_record(&secret.name_any());
                }
                Err(error) => {
                    let error = printable(&error.to_string(), 300);
                    debug!(error, "failed to watch the records of ended sessions");
                }
            }
        }
    }

    fn apply_record(&self, secret: &Secret) {
        let Some(tracker) = ended_session_record::parse(secret) else {
            return;
        };
        let record = EndedSessionRecord::new(
            tracker.key.clone(),
            tracker.uid.clone(),
            secret.metadata.uid.clone(),
            tracker.ended_at.unwrap_or_default(),
            tracker.encoded(false).size(),
        );
        self.records().insert(secret.name_any(), record);
        self.store.restore(&tracker);
    }

    fn remove_record(&self, name: &str) {
        let record = self.records().remove(name);
        if let Some(record) = record {
            self.store.remove_ended(&record.key, &record.session_uid);
        }
    }

    /// Writes a record for each session that ends.
    async fn write_records(&self, mut ended: UnboundedReceiver<Arc<Tracker>>, retention: i64) {
        let mut queue: BTreeMap<(Instant, u64), Arc<Tracker>> = BTreeMap::new();
        let mut sequence = 0;
        let mut last_error = String::new();
        loop {
            let next = queue.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                tracker = ended.recv() => {
                    let Some(tracker) = tracker else {
                        return std::future::pending().await;
                    };
                    let delay = if has_known_reason(&tracker) {
                        Duration::ZERO
                    } else {
                        self.jittered(REASON_GRACE, &tracker.uid)
                    };
                    sequence += 1;
                    queue.insert((Instant::now() + delay, sequence), tracker);
                    drop_excess(&mut queue);
                    continue;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH_SIZE
                && let Some(first) = queue.first_entry()
                && first.key().0 <= Instant::now()
            {
                batch.push(first.remove());
            }
            let failed: Vec<_> =
                stream::iter(batch)
                    .map(|tracker| async move {
                        (self.write_record(&tracker, retention).await, tracker)
                    })
                    .buffer_unordered(MAX_CONCURRENT)
                    .filter_map(|(result, tracker)| {
                        std::future::ready(result.err().map(|e| (e, tracker)))
                    })
                    .collect()
                    .await;
            for (error, tracker) in failed {
                if last_error != error {
                    warn!(
                        error,
                        "failed to write the record of an ended session: other replicas may not show it"
                    );
                    last_error = error;
                }
                sequence += 1;
                queue.insert((Instant::now() + RETRY_DELAY, sequence), tracker);
            }
        }
    }

    pub(super) async fn write_record(
        &self,
        tracker: &Tracker,
        retention: i64,
    ) -> Result<(), String> {
        let is_expired = tracker.ended_at.is_none_or(|ended_at| ended_at + retention < unix_now());
        let Some((name, record)) = ended_session_record::encode(tracker).filter(|_| !is_expired)
        else {
            return Ok(());
        };
        let write = async {
            if has_known_reason(tracker) {
                let params = PatchParams::apply(WEBHOOK_NAME).force();
                return self.secrets.patch(&name, &params, &Patch::Apply(&record)).await;
            }
            // An existing record has at least as much information.
            if self.records().contains(&name) {
                return Ok(Secret::default());
            }
            let secret = serde_json::from_value(record).map_err(kube::Error::SerdeError)?;
            self.secrets.create(&PostParams::default(), &secret).await
        };
        match timeout(TIMEOUT, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(printable(&error.to_string(), 300)),
            Err(_) => Err(format!("no response within {TIMEOUT:?}")),
        }
    }

    /// Removes expired trackers in time, however long the deletion of their records takes.
    async fn remove_expired_trackers(&self) {
        let mut tick = every_second();
        loop {
            tick.tick().await;
            self.store.remove_expired();
        }
    }

    /// Deletes expired records, and the oldest records beyond the limits at once.
    ///
    /// Any replica deletes any record, since the one that wrote it may have stopped.
    async fn delete_expired_records(&self, retention: i64) {
        let mut tick = every_second();
        loop {
            tick.tick().await;
            let expired = self.records().expired(unix_now() - retention, MAX_DELETES, |record| {
                let delay = self.jittered(Duration::from_secs(1), &record.session_uid);
                i64::try_from(delay.as_secs()).unwrap_or_default()
            });
            stream::iter(expired)
                .for_each_concurrent(MAX_CONCURRENT, |(name, uid)| self.delete_record(name, uid))
                .await;
        }
    }

    async fn delete_record(&self, name: String, uid: Option<String>) {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match timeout(TIMEOUT, self.secrets.delete(&name, &params)).await {
            // Don't wait for the watch, which may report the deletion later.
            Ok(Ok(_)) => self.remove_record(&name),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.remove_record(&name);
            }
            Ok(Err(error)) => {
                let error = printable(&error.to_string(), 300);
                debug!(error, name, "failed to delete a record");
            }
            Err(_) => debug!(name, "timed out deleting a record"),
        }
    }

    /// Adds a jitter that differs between replicas.
    fn jittered(&self, delay: Duration, uid: &str) -> Duration {
        let max_jitter = u64::try_from(MAX_JITTER.as_millis()).unwrap_or(u64::MAX);
        delay + Duration::from_millis(self.random.hash_one(uid) % max_jitter)
    }

    fn records(&self) -> MutexGuard<'_, EndedSessionRecords> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the first queued records beyond the bounds of the queue.
fn drop_excess(queue: &mut BTreeMap<(Instant, u64), Arc<Tracker>>) {
    let mut size: usize = queue.values().map(|tracker| tracker.size()).sum();
    while (size > QUEUE_BUDGET || queue.len() > QUEUE_LENGTH)
        && let Some((_, dropped)) = queue.pop_first()
    {
        size -= dropped.size();
    }
}

fn every_second() -> Interval {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

fn has_known_reason(tracker: &Tracker) -> bool {
    tracker.ending().is_some_and(|ending| ending.is_known())
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
    async fn expires_trackers_while_deletions_hang() {
        let silent = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let (store, ended) = Store::with_retention(Duration::from_secs(1));
        let tracker = tracker("ended", 5).terminated(&Ending::unknown(unix_now()), 6);
        let tracker = Arc::new(tracker.unwrap());
        store.replace(Vec::new(), &[Arc::clone(&tracker)], 10);
        assert_eq!(store.index().len(), 1);
        let client = Client::new(silent, "default");
        let records = EndedSessionStore::new(client, "default", Arc::clone(&store));
        // The record has expired, so its deletion is in flight.
        let old = EndedSessionRecord::new(tracker.key.clone(), "old".into(), None, 0, 1);
        records.records().insert("old".into(), old);
        let mut changes = store.watch_index();
        let removed = changes.wait_for(|_| store.index().is_empty());
        tokio::select! {
            () = records.run(ended) => {}
            removed = timeout(TIMEOUT / 2, removed) => {
                removed.unwrap().unwrap();
            }
        }
        assert!(store.index().is_empty());
    }
}
