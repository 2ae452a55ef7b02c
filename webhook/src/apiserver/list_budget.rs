//! What lists that are being answered may hold together in memory.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use mirrord_sessions_core::apiserver::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::response::Response;

/// Kibibytes of all lists together. One that is longer takes it all.
const BUDGET: u32 = 64 << 10;

/// How long a list waits for others to be sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The budget.
#[derive(Debug)]
pub(crate) struct Answers {
    budget: Arc<Semaphore>,
    patience: Duration,
}

/// A list's share, given back when it was sent or its client has gone.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Answers {
    pub(crate) fn new() -> Self {
        Self::waiting(PATIENCE)
    }

    fn waiting(patience: Duration) -> Self {
        Self { budget: Arc::new(Semaphore::new(BUDGET as usize)), patience }
    }

    /// The share of a list of this many bytes.
    ///
    /// # Errors
    /// It was waited for in vain.
    pub(crate) async fn share(&self, bytes: usize) -> Result<Share, Failure> {
        let kibibytes = u32::try_from(bytes >> 10).unwrap_or(BUDGET).min(BUDGET);
        let permits = Arc::clone(&self.budget).acquire_many_owned(kibibytes);
        match tokio::time::timeout(self.patience, permits).await {
            Ok(Ok(permit)) => Ok(Share(permit)),
            _ => Err(Failure::too_much_at_once()),
        }
    }
}

impl Share {
    /// The answer, which holds the share for as long as it is there.
    pub(crate) fn until_sent(self, answer: Response) -> Response {
        answer.map(|body| {
            body.map_frame(move |frame| {
                let _held = &self.0;
                frame
            })
            .boxed_unsync()
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::server::body::full;

    #[tokio::test]
    async fn lists_wait_for_those_before_them() {
        let answers = Answers::waiting(Duration::ZERO);
        let huge = answers.share(usize::MAX).await.unwrap();
        let answer = huge.until_sent(Response::new(full("list".into())));
        let refused = answers.share(1 << 10).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (429, Some(1)));
        assert!(answers.share(100).await.is_ok(), "short ones never wait");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "list");
        let small = answers.share(1 << 10).await.unwrap();
        drop(small.until_sent(Response::new(full("not read".into()))));
        assert!(answers.share(usize::MAX).await.is_ok());
    }
}
