//! Memory budget of lists that are being sent.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use mirrord_sessions_core::apiserver::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::response::Response;

/// The budget of all lists in kibibytes. A longer list takes all of it.
pub(crate) const BUDGET: u32 = 16 << 10;

/// The timeout of a list that waits for others to be sent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits the memory that concurrent lists take together.
#[derive(Debug)]
pub(crate) struct ListMemoryBudget {
    kibibytes: Arc<Semaphore>,
    timeout: Duration,
}

/// A list's share of the budget, released once the list was sent or its client has disconnected.
#[derive(Debug)]
pub(crate) struct Permit(OwnedSemaphorePermit);

impl ListMemoryBudget {
    pub(crate) fn new() -> Self {
        Self::with_timeout(TIMEOUT)
    }

    fn with_timeout(timeout: Duration) -> Self {
        Self { kibibytes: Arc::new(Semaphore::new(BUDGET as usize)), timeout }
    }

    /// Waits for a permit for a list of this size.
    ///
    /// # Errors
    /// Returns 429 on a timeout.
    pub(crate) async fn acquire(&self, bytes: usize) -> Result<Permit, ApiError> {
        let kibibytes = u32::try_from(bytes >> 10).unwrap_or(BUDGET).min(BUDGET);
        let permit = Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes);
        match tokio::time::timeout(self.timeout, permit).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            _ => Err(ApiError::list_budget_exceeded()),
        }
    }
}

impl Permit {
    /// Holds the permit until the response is sent or dropped.
    pub(crate) fn hold_until_sent(self, response: Response) -> Response {
        response.map(|body| {
            body.map_frame(move |frame| {
                let _permit = &self.0;
                frame
            })
            .boxed_unsync()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::full;

    #[tokio::test]
    async fn limits_concurrent_lists() {
        let budget = ListMemoryBudget::with_timeout(Duration::ZERO);
        let permit = budget.acquire(usize::MAX).await.unwrap();
        let response = permit.hold_until_sent(http::Response::new(full("list".into())));
        let error = budget.acquire(1 << 10).await.unwrap_err();
        assert_eq!((error.code, error.retry_after), (429, Some(1)));
        assert!(budget.acquire(100).await.is_ok(), "lists below a kibibyte never wait");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "list");
        let permit = budget.acquire(1 << 10).await.unwrap();
        drop(permit.hold_until_sent(http::Response::new(full("not read".into()))));
        assert!(budget.acquire(usize::MAX).await.is_ok());
    }
}
