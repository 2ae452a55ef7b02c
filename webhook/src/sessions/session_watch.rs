//! List and watch of all Sessions, which fill the index.
//!
//! Trackers are served at the resource versions of lists and bookmarks, so this module drives list
//! and watch itself.

use std::{sync::Arc, time::Duration};

use kube::Client;
use mirrord_sessions_core::sessions::{Tracker, TrackerKey, index::ListedTrackers};
use mirrord_sessions_crds::SessionState;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{ended_sessions::EndedSessionStore, store::Store};
use crate::{
    list_watch::{self, ListWatch, ObjectIdentity, WatchEvent},
    server::health::Health,
    stored_objects::StoredSession,
};

/// The maximum delay of the first list until the policies are read. Versions that are sent earlier
/// count as sent under unknown policies.
const POLICIES_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Keeps the index in sync with the cluster's Sessions.
pub(crate) struct SessionWatch {
    sessions: ListWatch<StoredSession>,
    store: Arc<Store>,
    ended_sessions: Arc<EndedSessionStore>,
}

/// Reason why a watch ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    ListWatch(#[from] list_watch::Error),
    #[error("a resource version is not a number")]
    Version,
}

impl SessionWatch {
    pub(crate) fn new(
        client: Client,
        store: Arc<Store>,
        ended_sessions: Arc<EndedSessionStore>,
    ) -> Self {
        Self { sessions: ListWatch::all(client), store, ended_sessions }
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
                Err(WatchError::ListWatch(list_watch::Error::Expired)) => {
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
        let mut events = self.sessions.watch(&from.to_string()).await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
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
            if self.store.index().has_room_again() {
                info!("listing sessions again: there is memory for those that were left out");
                *version = None;
                return Ok(());
            }
        }
    }

    async fn list(&self) -> Result<u64, WatchError> {
        let mut listed = ListedTrackers::default();
        let began = Instant::now();
        let mut list = self.sessions.list();
        while let Some(item) = list.next().await? {
            if let Some(tracker) = item.ok().and_then(into_tracker) {
                listed.push(&self.store.index(), tracker);
            }
        }
        let version = parse_version(Some(&list.version()?))?;
        let count = listed.len();
        // List the records after the sessions, so that a session that ends in between is in both.
        // Later records arrive through their own watch.
        let is_first = !self.store.index().is_synced();
        let recorded = if is_first { self.ended_sessions.list().await } else { Vec::new() };
        self.store.replace_listed(listed, &recorded, version);
        self.store.record_list(began, version);
        info!(count, version, "listed sessions");
        if self.store.index().is_short_of_memory() {
            warn!("too many or too large sessions: some are shown shortened or not at all");
        }
        Ok(version)
    }

    /// Applies one event to the index and returns its resource version.
    fn apply(&self, event: WatchEvent<StoredSession>) -> Result<u64, WatchError> {
        match event {
            WatchEvent::Applied(item) => {
                let (identity, tracker) = match item {
                    Ok(object) => (
                        ObjectIdentity::from_meta(&object.metadata),
                        into_tracker(object).map(Arc::new),
                    ),
                    Err(identity) => (identity, None),
                };
                let version = parse_version(identity.resource_version.as_deref())?;
                if let Some(tracker) = &tracker
                    && tracker.status.state == SessionState::Terminating
                {
                    self.store.hold_deletion(&tracker.uid);
                }
                self.store.update(|index| match (tracker, tracker_key(&identity)) {
                    (Some(tracker), _) => index.apply(tracker),
                    // An invalid Session must not be shown in its previous state.
                    (None, Some(key)) => index.remove(&key, version),
                    (None, None) => {}
                });
                Ok(version)
            }
            WatchEvent::Deleted(identity) => {
                let version = parse_version(identity.resource_version.as_deref())?;
                if let Some(key) = tracker_key(&identity) {
                    self.store.apply_deletion(&key, version);
                }
                Ok(version)
            }
            WatchEvent::Bookmark(identity) => {
                let version = parse_version(identity.resource_version.as_deref())?;
                self.store.update(|index| index.advance(version));
                Ok(version)
            }
        }
    }
}

fn parse_version(version: Option<&str>) -> Result<u64, WatchError> {
    version.and_then(|version| version.parse().ok()).ok_or(WatchError::Version)
}

fn tracker_key(identity: &ObjectIdentity) -> Option<TrackerKey> {
    Some(TrackerKey {
        namespace: identity.namespace.as_deref()?.into(),
        name: identity.name.as_deref()?.into(),
    })
}

/// Returns the tracker of a Session, or `None` if the Session cannot be parsed.
fn into_tracker(object: StoredSession) -> Option<Tracker> {
    let name = object.metadata.name.clone();
    let tracker = object.parse().and_then(|session| Tracker::new(&session).ok());
    if tracker.is_none() {
        debug!(?name, "ignoring a session that cannot be parsed");
    }
    tracker
}
