//! List and watch of all Sessions, which fill the index.
//!
//! kube's watcher does not expose the resource versions of lists and bookmarks. Trackers are served
//! at these versions, so this module lists and watches with the plain client.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use mirrord_sessions_core::{
    sessions::{Tracker, TrackerKey},
    text::printable,
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{ended_sessions::EndedSessionStore, store::Store};
use crate::{server::health::Health, stored_objects::StoredSession};

/// The page size of lists. Each Session may have a quarter of a megabyte of annotations.
const PAGE_SIZE: u32 = 100;
/// The maximum delay of the first list until the policies are read. Versions that are sent earlier
/// count as sent under unknown policies.
const POLICIES_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Keeps the index in sync with the cluster's Sessions.
pub(crate) struct SessionWatch {
    sessions: Api<StoredSession>,
    store: Arc<Store>,
    ended_sessions: Arc<EndedSessionStore>,
}

/// Reason why a watch ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("invalid resource version {0:?}")]
    Version(String),
    #[error("the resource version has expired")]
    Expired,
}

impl SessionWatch {
    pub(crate) fn new(
        client: Client,
        store: Arc<Store>,
        ended_sessions: Arc<EndedSessionStore>,
    ) -> Self {
        Self { sessions: Api::all(client), store, ended_sessions }
    }

    /// Lists and watches with backoff. Never returns.
    ///
    /// While the API server is unavailable, the last known state is served.
    pub(crate) async fn run(self, health: &Health) {
        self.store.wait_for_policies(POLICIES_TIMEOUT).await;
        let mut backoff = MIN_BACKOFF;
        let mut version = None;
        loop {
            match self.list_and_watch(&mut version, &mut backoff, health).await {
                Ok(()) => continue,
                Err(WatchError::Expired) => {
                    info!("the watch on sessions has expired, listing again");
                    version = None;
                }
                Err(error) => {
                    warn!(%error, retry_seconds = backoff.as_secs_f32(), "failed to watch sessions");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Lists unless `version` is set, and watches until the API server closes the watch.
    async fn list_and_watch(
        &self,
        version: &mut Option<u64>,
        backoff: &mut Duration,
        health: &Health,
    ) -> Result<(), WatchError> {
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
                // Policies have changed. List again for a version that no client has received
                // under the replaced ones, so that watches can resume.
                () = self.store.wait_for_list_due() => {
                    *version = None;
                    None
                }
            };
            let Some(event) = event else {
                return Ok(());
            };
            *backoff = MIN_BACKOFF;
            *version = Some(self.apply(event)?);
        }
    }

    async fn list(&self) -> Result<u64, WatchError> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        let mut trackers = Vec::new();
        let began = Instant::now();
        loop {
            let page = self.sessions.list(&params).await.map_err(watch_error)?;
            trackers.extend(page.items.into_iter().filter_map(into_tracker));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = parse_version(page.metadata.resource_version)?;
                let count = trackers.len();
                // List the records after the sessions, so that a session that ends in between is
                // in both. Later records arrive through their own watch.
                let is_first = !self.store.index().is_synced();
                let recorded = if is_first { self.ended_sessions.list().await } else { Vec::new() };
                self.store.replace(trackers, &recorded, version);
                self.store.record_list(began, version);
                info!(count, version, "listed sessions");
                return Ok(version);
            }
        }
    }

    /// Applies one event to the index and returns its resource version.
    fn apply(&self, event: WatchEvent<StoredSession>) -> Result<u64, WatchError> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = parse_version(object.metadata.resource_version.clone())?;
                let key = tracker_key(&object);
                let tracker = into_tracker(object);
                self.store.update(|index| match (tracker, key) {
                    (Some(tracker), _) => index.apply(tracker),
                    // An invalid Session must not be shown in its previous state.
                    (None, Some(key)) => index.remove(&key, version),
                    (None, None) => {}
                });
                Ok(version)
            }
            WatchEvent::Deleted(object) => {
                let version = parse_version(object.metadata.resource_version.clone())?;
                if let Some(key) = tracker_key(&object) {
                    self.store.apply_deletion(&key, version);
                }
                Ok(version)
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = parse_version(Some(bookmark.metadata.resource_version))?;
                self.store.update(|index| index.advance(version));
                Ok(version)
            }
            WatchEvent::Error(status) => Err(watch_error(kube::Error::Api(status))),
        }
    }
}

fn watch_error(error: kube::Error) -> WatchError {
    match error {
        kube::Error::Api(status) if status.code == 410 => WatchError::Expired,
        error => WatchError::Kube(error),
    }
}

fn parse_version(version: Option<String>) -> Result<u64, WatchError> {
    let version = version.unwrap_or_default();
    version.parse().map_err(|_| WatchError::Version(version))
}

fn tracker_key(object: &StoredSession) -> Option<TrackerKey> {
    Some(TrackerKey {
        namespace: object.metadata.namespace.as_deref()?.into(),
        name: object.metadata.name.as_deref()?.into(),
    })
}

fn into_tracker(object: StoredSession) -> Option<Arc<Tracker>> {
    let name = object.metadata.name.clone();
    let tracker = object
        .parse()
        .and_then(|session| Tracker::new(&session).map_err(|error| error.to_string()));
    match tracker {
        Ok(tracker) => Some(Arc::new(tracker)),
        Err(error) => {
            let error = printable(&error, 256);
            debug!(?name, error, "ignoring an invalid session");
            None
        }
    }
}
