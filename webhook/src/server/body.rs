//! Bodies: a request's, bounded in size and time, and all of them together in memory; an answer's,
//! at once or as a stream.

use std::{convert::Infallible, pin::pin, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The body of an answer.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is all there.
pub(crate) fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).boxed_unsync()
}

/// A review carries an object of up to 3 MiB, which is what the API server takes, and one that is
/// stored, of up to 1.5 MiB; whether it is a Session, a Job, or a Pod with its ephemeral
/// containers.
pub(crate) const MAX_BODY: usize = 5 << 20;

/// How long a body may take. The API server waits for a webhook 30 s at most.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What all bodies that are being read or decided on may hold together. A body takes its share as
/// it arrives, so that who declares much and sends little holds little.
const BUDGET: usize = 24 << 20;

/// Reviews that are taken apart at once: that costs up to ten times a body's size.
const DECISIONS: usize = 2;

/// Why a body can't be had.
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

/// What the bodies under way share.
#[derive(Debug)]
pub(crate) struct Bodies {
    budget: Semaphore,
    decisions: Semaphore,
    timeout: Duration,
}

/// A body with its share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    bytes: Bytes,
    _share: Vec<SemaphorePermit<'a>>,
}

impl Held<'_> {
    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// A budget for bodies that may take that long.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { budget: Semaphore::new(BUDGET), decisions: Semaphore::new(DECISIONS), timeout }
    }

    /// The whole body, or why not.
    pub(crate) async fn read<B>(&self, body: B) -> Result<Held<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        self.read_up_to(MAX_BODY, body).await
    }

    /// The same of a body that may have so many bytes.
    pub(crate) async fn read_up_to<B>(&self, most: usize, body: B) -> Result<Held<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        // Told by its length, before a byte of it is read.
        if body.size_hint().lower() > most as u64 {
            return Err(BodyError::TooLarge(most));
        }
        tokio::time::timeout(self.timeout, self.collect(most, body))
            .await
            .unwrap_or(Err(BodyError::TooSlow(self.timeout)))
    }

    async fn collect<B>(&self, most: usize, body: B) -> Result<Held<'_>, BodyError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        let mut share = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            let length = data.remaining();
            if bytes.len() + length > most {
                return Err(BodyError::TooLarge(most));
            }
            let permits = u32::try_from(length).map_err(|_| BodyError::TooLarge(most))?;
            // Waiting for a share counts against the time for the body.
            let permit = self.budget.acquire_many(permits).await;
            share.push(permit.map_err(|error| BodyError::Broken(error.to_string()))?);
            bytes.extend_from_slice(&data.copy_to_bytes(length));
        }
        Ok(Held { bytes: bytes.freeze(), _share: share })
    }

    /// Decides on a body when it is its turn.
    pub(crate) async fn decide<T>(&self, body: Held<'_>, decide: impl FnOnce(&[u8]) -> T) -> T {
        // Never closed; and if it were, deciding would do no harm.
        let _turn = self.decisions.acquire().await.ok();
        decide(&body.bytes)
    }
}
