//! The one watch on Sessions that fills the index.
//!
//! kube's own watcher keeps the versions of lists and bookmarks to itself; trackers are served by
//! them, so this lists and watches with the plain client.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use mirrord_sessions_core::{
    sessions::{Key, Tracker},
    text::printable,
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{ended_sessions::Records, store::Store};
use crate::{server::health::Health, stored_objects::StoredSession};

/// Sessions a page of the list. Each may have annotations of a quarter of a megabyte, so no more at
/// once.
const PAGE: u32 = 100;
/// How long the first list waits for the policies: then all that is ever told is told by known
/// ones.
const POLICIES_FIRST: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// Keeps the index like the cluster's Sessions.
pub(crate) struct Feed {
    sessions: Api<StoredSession>,
    store: Arc<Store>,
    records: Arc<Records>,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("the API server sent {0:?} for a resource version")]
    Version(String),
    #[error("the API server has forgotten the version to go on from")]
    Expired,
}

impl Feed {
    pub(crate) fn new(client: Client, store: Arc<Store>, records: Arc<Records>) -> Self {
        Self { sessions: Api::all(client), store, records }
    }

    /// Feeds for ever. What fails is tried again; what was read is served meanwhile.
    pub(crate) async fn run(self, health: &Health) {
        self.store.wait_for_policies(POLICIES_FIRST).await;
        let mut retry = FIRST_RETRY;
        let mut version = None;
        loop {
            let ended = self.round(&mut version, &mut retry, health).await;
            match ended {
                Ok(()) => continue,
                Err(FeedError::Expired) => {
                    info!("the watch on sessions is too old and starts anew");
                    version = None;
                }
                Err(error) => {
                    warn!(%error, retry_seconds = retry.as_secs_f32(), "sessions can't be watched");
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    /// Lists if need be, and watches until the API server ends it.
    async fn round(
        &self,
        version: &mut Option<u64>,
        retry: &mut Duration,
        health: &Health,
    ) -> Result<(), FeedError> {
        let from = if let Some(from) = *version {
            from
        } else {
            let listed = self.list().await?;
            health.sessions_synced();
            *version.insert(listed)
        };
        let params = WatchParams::default();
        let mut events = self.sessions.watch(&params, &from.to_string()).await?.boxed();
        loop {
            let event = tokio::select! {
                event = events.try_next() => event?,
                // Policies have changed: a list has a version of which it is known who decided.
                () = self.store.unsettled() => {
                    *version = None;
                    None
                }
            };
            let Some(event) = event else {
                return Ok(());
            };
            *retry = FIRST_RETRY;
            *version = Some(self.event(event)?);
        }
    }

    async fn list(&self) -> Result<u64, FeedError> {
        let mut params = ListParams::default().limit(PAGE);
        let mut trackers = Vec::new();
        let began = Instant::now();
        loop {
            let page = self.sessions.list(&params).await.map_err(expired)?;
            trackers.extend(page.items.into_iter().filter_map(tracker));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = number(page.metadata.resource_version)?;
                let count = trackers.len();
                // After the sessions: of one that ends in between, both are known. Later ones are
                // followed.
                let first = !self.store.index().is_synced();
                let ended = if first { self.records.list().await } else { Vec::new() };
                self.store.replace(trackers, &ended, version);
                self.store.listed(began, version);
                info!(count, version, "listed the sessions");
                return Ok(version);
            }
        }
    }

    /// Takes one event in; the version that it brings.
    fn event(&self, event: WatchEvent<StoredSession>) -> Result<u64, FeedError> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = number(object.metadata.resource_version.clone())?;
                let key = key(&object);
                let tracker = tracker(object);
                self.store.update(|index| match (tracker, key) {
                    (Some(tracker), _) => index.apply(tracker),
                    // What can't be read must not be shown as it was before.
                    (None, Some(key)) => index.remove(&key, version),
                    (None, None) => {}
                });
                Ok(version)
            }
            WatchEvent::Deleted(object) => {
                let version = number(object.metadata.resource_version.clone())?;
                if let Some(key) = key(&object) {
                    self.store.deleted(&key, version);
                }
                Ok(version)
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = number(Some(bookmark.metadata.resource_version))?;
                self.store.update(|index| index.advance(version));
                Ok(version)
            }
            WatchEvent::Error(status) => Err(expired(kube::Error::Api(status))),
        }
    }
}

fn expired(error: kube::Error) -> FeedError {
    match error {
        kube::Error::Api(status) if status.code == 410 => FeedError::Expired,
        error => FeedError::Kube(error),
    }
}

fn number(version: Option<String>) -> Result<u64, FeedError> {
    let version = version.unwrap_or_default();
    version.parse().map_err(|_| FeedError::Version(version))
}

fn key(object: &StoredSession) -> Option<Key> {
    Some(Key {
        namespace: object.metadata.namespace.as_deref()?.into(),
        name: object.metadata.name.as_deref()?.into(),
    })
}

fn tracker(object: StoredSession) -> Option<Arc<Tracker>> {
    let name = object.metadata.name.clone();
    let tracker =
        object.read().and_then(|session| Tracker::new(&session).map_err(|error| error.to_string()));
    match tracker {
        Ok(tracker) => Some(Arc::new(tracker)),
        Err(error) => {
            let error = printable(&error, 256);
            debug!(?name, error, "a session can't be shown");
            None
        }
    }
}
