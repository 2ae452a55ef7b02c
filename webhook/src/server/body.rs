//! Bodies of requests, bounded in size, in time and in total memory, and bodies of responses.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use mirrord_sessions_core::server::{
    Peer,
    body_budget::{BodyBudget, BodyId, BodyLimits, Opening, Reservation},
    transfer_rate::{MinimumRate, RateMeter},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::debug;

/// The body of a response, complete or streamed.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// Returns a complete body.
pub(crate) fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).boxed_unsync()
}

/// Limit of the body of a request, in bytes.
///
/// A review contains a sent object of up to 3 MiB, the limit of the API server, and a stored object
/// of up to 1.5 MiB.
pub(crate) const MAX_BODY: usize = 5 << 20;

/// Time limit of the body of a request. The API server waits for a webhook for at most 30 s.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds of the bodies that are being read or decided.
///
/// Half of the memory is out of reach of any one peer. Only bodies that take longer than half a
/// second to arrive lose their place. In the cluster's network, a review arrives in milliseconds.
const LIMITS: BodyLimits = BodyLimits {
    total: 16 << 20,
    per_peer: 8 << 20,
    reserve: MAX_BODY,
    small: 64 << 10,
    small_reserve: 2 << 20,
    count_per_peer: 2048,
    slow_after: Duration::from_millis(500),
};

/// The minimum rate of a body, below which the largest review takes over a minute.
const MINIMUM_RATE: MinimumRate =
    MinimumRate { bytes_per_second: 64 << 10, pause: Duration::from_secs(2) };

/// Memory that a request takes beside its body.
const REQUEST_SIZE: usize = 4 << 10;

/// Bytes of bodies that are parsed at once. Any number of small reviews fit.
const PARSED_BYTES: usize = MAX_BODY;
/// Memory of a parsed body in relation to its size, at most.
#[cfg(test)]
const PARSE_FACTOR: usize = 10;

/// The memory of all bodies and of their parsing in bytes at most.
#[cfg(test)]
pub(crate) const BUDGET: usize =
    LIMITS.total + LIMITS.reserve + LIMITS.small_reserve + PARSE_FACTOR * PARSED_BYTES;

/// Describes why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is over {}", size(*.0))]
    TooLarge(usize),
    #[error("the body did not end within {0:?}")]
    TooSlow(Duration),
    #[error("the body arrived at less than {} a second", size(MINIMUM_RATE.bytes_per_second as usize))]
    BelowRate,
    #[error("the body arrived too slowly to keep its memory, which other requests needed")]
    Evicted,
    #[error("too many requests of this client are in flight")]
    TooMany,
    #[error("the body broke off: {0}")]
    Broken(String),
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

/// The budgets that all bodies in flight share.
#[derive(Debug)]
pub(crate) struct Bodies {
    state: Mutex<State>,
    /// Notified when a body releases its memory.
    released: Notify,
    decisions: Semaphore,
    timeout: Duration,
    /// The moment from which the budget measures times.
    origin: Instant,
}

#[derive(Debug)]
struct State {
    budget: BodyBudget,
    /// The bodies that are being read, to notify of their eviction.
    readers: HashMap<BodyId, Arc<Notify>>,
}

/// The place of a body in the budget, given back on drop.
#[derive(Debug)]
struct Place<'a> {
    bodies: &'a Bodies,
    id: BodyId,
    evicted: Arc<Notify>,
}

/// A body with its place in the memory budget, which is released on drop.
#[derive(Debug)]
pub(crate) struct BudgetedBody<'a> {
    bytes: Bytes,
    _place: Place<'a>,
}

impl BudgetedBody<'_> {
    /// Returns the bytes of the body.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Creates the budgets, with a time limit for each body.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            state: Mutex::new(State { budget: BodyBudget::new(LIMITS), readers: HashMap::new() }),
            released: Notify::new(),
            decisions: Semaphore::new(PARSED_BYTES),
            timeout,
            origin: Instant::now(),
        }
    }

    /// Reads a body of a peer, of up to `limit` bytes.
    pub(crate) async fn read<B>(
        &self,
        peer: Peer,
        limit: usize,
        body: B,
    ) -> Result<BudgetedBody<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        // Reject by Content-Length before reading the body.
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge(limit));
        }
        let place = self.open(peer)?;
        let evicted = Arc::clone(&place.evicted);
        tokio::select! {
            body = self.collect(place, limit, body) => body,
            () = evicted.notified() => Err(BodyError::Evicted),
            () = sleep(self.timeout) => Err(BodyError::TooSlow(self.timeout)),
        }
    }

    async fn collect<'a, B>(
        &'a self,
        place: Place<'a>,
        limit: usize,
        body: B,
    ) -> Result<BudgetedBody<'a>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        self.reserve(place.id, REQUEST_SIZE).await?;
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        let mut meter = RateMeter::start(MINIMUM_RATE, self.now());
        loop {
            let frame = timeout_at(self.origin + meter.deadline(), body.frame()).await;
            let Some(frame) = frame.map_err(|_| BodyError::BelowRate)? else {
                break;
            };
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            let length = data.remaining();
            if bytes.len() + length > limit {
                return Err(BodyError::TooLarge(limit));
            }
            let arrived = self.now();
            meter.record(length, arrived);
            self.reserve(place.id, length).await?;
            // The peer is not to blame for the wait.
            meter.extend(self.now().saturating_sub(arrived));
            bytes.extend_from_slice(&data.copy_to_bytes(length));
        }
        if !self.state().budget.complete(place.id) {
            return Err(BodyError::Evicted);
        }
        Ok(BudgetedBody { bytes: bytes.freeze(), _place: place })
    }

    /// Registers a body.
    fn open(&self, peer: Peer) -> Result<Place<'_>, BodyError> {
        let mut state = self.state();
        let id = loop {
            match state.budget.open(peer, self.now()) {
                Opening::Opened(id) => break id,
                Opening::Evict(victim) => state.notify(victim),
                Opening::Refuse => return Err(BodyError::TooMany),
            }
        };
        let evicted = Arc::new(Notify::new());
        state.readers.insert(id, Arc::clone(&evicted));
        Ok(Place { bodies: self, id, evicted })
    }

    /// Reserves memory for more bytes of a body, waiting for others to end if need be.
    async fn reserve(&self, id: BodyId, bytes: usize) -> Result<(), BodyError> {
        loop {
            // Created before the check, so that no release in between is missed.
            let released = self.released.notified();
            let reservation = {
                let mut state = self.state();
                let reservation = state.budget.reserve(id, bytes, self.now());
                if let Reservation::Evict(victim) = reservation {
                    state.notify(victim);
                }
                reservation
            };
            match reservation {
                Reservation::Granted => return Ok(()),
                Reservation::Evict(_) => {}
                Reservation::Lost => return Err(BodyError::Evicted),
                Reservation::Wait(limit) => {
                    let _ = timeout(limit, released).await;
                }
            }
        }
    }

    /// Calls `decide` on a body, after waiting until bodies of its size may be parsed.
    pub(crate) async fn decide<T>(
        &self,
        body: BudgetedBody<'_>,
        decide: impl FnOnce(&[u8]) -> T,
    ) -> T {
        // The semaphore is never closed, and a decision without a permit would do no harm.
        let bytes = u32::try_from(body.bytes.len()).unwrap_or(u32::MAX);
        let _permit = self.decisions.acquire_many(bytes).await.ok();
        decide(&body.bytes)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notifies the reader of an evicted body.
    fn notify(&mut self, victim: BodyId) {
        if let Some(reader) = self.readers.remove(&victim) {
            debug!("a body that arrived slowly lost its place");
            reader.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.bodies.state();
        state.budget.close(self.id);
        state.readers.remove(&self.id);
        drop(state);
        self.bodies.released.notify_waiters();
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
