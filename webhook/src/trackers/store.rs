//! What requests are answered from: the index, and who decides what of it is seen.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use mirrord_sessions_core::{
    policy::PolicySet,
    trackers::{Failure, Index, options::Version},
};
use tokio::sync::watch;

/// How long a request waits for a version that is still to come, as in the API server.
const FRESHNESS: Duration = Duration::from_secs(3);

/// The index, the policies, and whether the process is ending; each with those who wait for it.
#[derive(Debug)]
pub(crate) struct Store {
    index: RwLock<Index>,
    changed: watch::Sender<u64>,
    policies: watch::Sender<Option<Arc<PolicySet>>>,
    closing: watch::Sender<bool>,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            index: RwLock::default(),
            changed: watch::Sender::new(0),
            policies: watch::Sender::new(None),
            closing: watch::Sender::new(false),
        })
    }

    /// The index, for as long as nothing is waited for.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, and tells those who watch it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Index)) {
        let version = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut index);
            index.version()
        };
        self.changed.send_replace(version);
    }

    /// From now on, these decide. Open watches follow.
    pub(crate) fn decide_by(&self, policies: PolicySet) {
        self.policies.send_replace(Some(Arc::new(policies)));
    }

    /// Ends all watches, since the process is about to.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn generations(&self) -> watch::Receiver<Option<Arc<PolicySet>>> {
        self.policies.subscribe()
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Who decides. Until that is known nothing is shown.
    pub(super) fn policies(&self) -> Result<Arc<PolicySet>, Failure> {
        let policies = self.policies.borrow().clone();
        policies.ok_or_else(|| Failure::not_ready("the policies of visibility aren't read yet"))
    }

    /// Waits until the index is filled and has this version, for a while.
    pub(super) async fn wait_for(&self, version: Version) -> Result<(), Failure> {
        let mut changes = self.changes();
        let reached = || {
            let index = self.index();
            if index.is_synced() {
                index.reached(version)
            } else {
                Err(Failure::not_ready("the sessions aren't read yet"))
            }
        };
        let deadline = tokio::time::Instant::now() + FRESHNESS;
        loop {
            let Err(failure) = reached() else {
                return Ok(());
            };
            if !matches!(
                tokio::time::timeout_at(deadline, changes.changed()).await,
                Ok(Ok(()))
            ) {
                return Err(failure);
            }
        }
    }
}
