//! Reading a request's body: bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// A review carries an object twice at most. The API server takes objects of up to 3 MiB.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// How long a body may take. The API server waits for a webhook 30 s at most.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is over {} MiB", MAX_BODY >> 20)]
    TooLarge,
    #[error("the body did not end within {0:?}")]
    TooSlow(Duration),
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// The whole body, or why not.
pub(crate) async fn read<B>(body: B, time: Duration) -> Result<Bytes, BodyError>
where
    B: Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Told by its length, before a byte of it is read.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge);
    }
    let collected = tokio::time::timeout(time, Limited::new(body, MAX_BODY).collect());
    match collected.await {
        Err(_) => Err(BodyError::TooSlow(time)),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(error)) => Err(BodyError::Broken(error.to_string())),
    }
}
