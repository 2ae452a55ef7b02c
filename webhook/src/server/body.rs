//! Bodies of requests, bounded in size, in time and in total memory, and bodies of responses.

use std::{convert::Infallible, pin::pin, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// Memory budget of all bodies that are being read or decided, in bytes.
///
/// A body acquires permits as its bytes arrive, so that a client that declares a large body and
/// sends little holds little of the budget.
const MEMORY_BUDGET: usize = 24 << 20;

/// Limit of reviews that are parsed at once. Parsing takes up to ten times the size of a body.
const MAX_DECISIONS: usize = 2;

/// Describes why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is over {}", size(*.0))]
    TooLarge(usize),
    #[error("the body did not end within {0:?}")]
    TooSlow(Duration),
    #[error("the body broke off: {0}")]
    Broken(String),
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

/// The budgets that all bodies in flight share.
#[derive(Debug)]
pub(crate) struct Bodies {
    budget: Semaphore,
    decisions: Semaphore,
    timeout: Duration,
}

/// A body with its permits of the memory budget, which are released on drop.
#[derive(Debug)]
pub(crate) struct BudgetedBody<'a> {
    bytes: Bytes,
    _permits: Vec<SemaphorePermit<'a>>,
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
            budget: Semaphore::new(MEMORY_BUDGET),
            decisions: Semaphore::new(MAX_DECISIONS),
            timeout,
        }
    }

    /// Reads a body of up to [`MAX_BODY`] bytes.
    pub(crate) async fn read<B>(&self, body: B) -> Result<BudgetedBody<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        self.read_up_to(MAX_BODY, body).await
    }

    /// Reads a body of up to `limit` bytes.
    pub(crate) async fn read_up_to<B>(
        &self,
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
        tokio::time::timeout(self.timeout, self.collect(limit, body))
            .await
            .unwrap_or(Err(BodyError::TooSlow(self.timeout)))
    }

    async fn collect<B>(&self, limit: usize, body: B) -> Result<BudgetedBody<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        let mut permits = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            let length = data.remaining();
            if bytes.len() + length > limit {
                return Err(BodyError::TooLarge(limit));
            }
            let bytes_needed = u32::try_from(length).map_err(|_| BodyError::TooLarge(limit))?;
            // Waiting for permits counts against the time limit.
            let permit = self.budget.acquire_many(bytes_needed).await;
            permits.push(permit.map_err(|error| BodyError::Broken(error.to_string()))?);
            bytes.extend_from_slice(&data.copy_to_bytes(length));
        }
        Ok(BudgetedBody { bytes: bytes.freeze(), _permits: permits })
    }

    /// Calls `decide` on a body, after waiting for a permit of the limit of concurrent decisions.
    pub(crate) async fn decide<T>(
        &self,
        body: BudgetedBody<'_>,
        decide: impl FnOnce(&[u8]) -> T,
    ) -> T {
        // The semaphore is never closed, and a decision without a permit would do no harm.
        let _permit = self.decisions.acquire().await.ok();
        decide(&body.bytes)
    }
}
