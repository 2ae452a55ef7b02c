//! The table of open connections, which always has room for a new one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mirrord_sessions_core::server::{
    Peer,
    connections::{Admission, ConnectionLimits, OpenConnection},
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::Instant,
};
use tracing::{debug, warn};

use super::activity::Activity;

/// Limit of evicted connections that still finish their requests.
const MAX_CLOSING: usize = 128;
/// Interval of the warning that connections are evicted or refused.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Counts of the connections of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionCounters {
    /// Connections in the table.
    pub(crate) open: Gauge,
    /// Connections that were closed in favour of new ones.
    pub(crate) evicted: Counter,
    /// New connections that were closed at once.
    pub(crate) refused: Counter,
}

/// The open connections of a server.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    limits: ConnectionLimits,
    counters: ConnectionCounters,
    entries: Mutex<Entries>,
    closing: Semaphore,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<u64, Entry>,
    next_id: u64,
    last_warning: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    activity: Arc<Activity>,
    evict: oneshot::Sender<()>,
}

/// The place of a connection in the table, given back on drop.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<ConnectionTable>,
    id: u64,
    evicted: oneshot::Receiver<()>,
    /// The activity of the connection.
    pub(super) activity: Arc<Activity>,
    /// The peer of the connection.
    pub(super) peer: Peer,
}

impl ConnectionTable {
    pub(super) fn new(limits: ConnectionLimits, counters: ConnectionCounters) -> Arc<Self> {
        let closing = Semaphore::new(MAX_CLOSING);
        Arc::new(Self { limits, counters, entries: Mutex::default(), closing })
    }

    /// Returns a place for a new connection, or `None` if no other can be evicted.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Slot> {
        let mut entries = self.entries();
        let now = Instant::now();
        let open: Vec<OpenConnection> = entries
            .by_id
            .iter()
            .map(|(id, entry)| OpenConnection {
                id: *id,
                peer: entry.peer,
                state: entry.activity.state(now),
            })
            .collect();
        match self.limits.admit(&open, peer) {
            Admission::Accept => {}
            Admission::Evict(id) => {
                if let Some(entry) = entries.by_id.remove(&id) {
                    self.counters.evicted.inc();
                    debug!(peer = %entry.peer, "evicted a connection for a new one of {peer}");
                    entries.warn(now, entry.peer);
                    // The receiver is gone if the connection has just ended.
                    let _ = entry.evict.send(());
                }
            }
            Admission::Refuse => {
                self.counters.refused.inc();
                debug!(%peer, "refused a connection");
                entries.warn(now, peer);
                return None;
            }
        }
        let id = entries.next_id;
        entries.next_id += 1;
        let activity = Arc::new(Activity::new());
        let (evict, evicted) = oneshot::channel();
        entries.by_id.insert(id, Entry { peer, activity: Arc::clone(&activity), evict });
        self.counters.open.set(i64::try_from(entries.by_id.len()).unwrap_or(i64::MAX));
        Some(Slot { table: Arc::clone(self), id, evicted, activity, peer })
    }

    /// Returns the number of open connections.
    pub(super) fn len(&self) -> usize {
        self.entries().by_id.len()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Warns of a peer that uses up its connections, at most once per interval.
    fn warn(&mut self, now: Instant, peer: Peer) {
        if self.last_warning.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL) {
            self.last_warning = Some(now);
            warn!(%peer, "too many connections: closing those that are idle for longest");
        }
    }
}

impl Slot {
    /// Completes when the connection must make room for another.
    pub(super) async fn evicted(&mut self) {
        if (&mut self.evicted).await.is_err() {
            // The entry was removed without an eviction, which only a drop of this slot does.
            std::future::pending::<()>().await;
        }
    }

    /// Returns a permit to finish requests after an eviction, or `None` if too many others do.
    pub(super) fn closing_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.table.closing.try_acquire().ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        entries.by_id.remove(&self.id);
        let open = entries.by_id.len();
        self.table.counters.open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}
