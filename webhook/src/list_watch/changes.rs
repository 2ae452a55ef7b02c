//! Changes of a resource as a stream, with backoff.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinHandle};

use super::{Error, Item, ObjectIdentity};

/// A change that a list or a watch delivers.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// A list starts, before its first object.
    ListStarted,
    /// An object of the list.
    Listed(Item<K>),
    /// The list is complete.
    ListCompleted,
    /// An object was added or updated.
    Applied(Item<K>),
    Deleted(ObjectIdentity),
    /// The list or watch failed and is retried.
    Failed(Error),
}

/// The changes of a resource. Dropping them ends the list and watch.
pub(crate) struct Changes<K> {
    pub(super) receiver: mpsc::Receiver<Change<K>>,
    pub(super) task: JoinHandle<()>,
}

impl<K> Changes<K> {
    /// Returns the next change. Cancelling it loses none.
    pub(crate) async fn next(&mut self) -> Change<K> {
        match self.receiver.recv().await {
            Some(change) => change,
            // The task runs as long as the receiver.
            None => std::future::pending().await,
        }
    }
}

impl<K> Drop for Changes<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Exponential delays between failures.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, next: initial }
    }

    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        delay
    }

    pub(super) fn reset(&mut self) {
        self.next = self.initial;
    }
}
