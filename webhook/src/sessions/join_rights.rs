//! The right to join sessions under RBAC, checked by SubjectAccessReview and cached for seconds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use mirrord_sessions_core::{
    identity::Requester,
    policy::{JoinRights, PolicySet},
};
use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout},
};
use tracing::warn;

use super::store::Store;
use crate::redaction::summary;

/// The subresource of trackers that joins a session.
const JOIN_SUBRESOURCE: &str = "join";
/// The time to live of a cached verdict.
pub(crate) const VERDICT_TTL: Duration = Duration::from_secs(10);
/// The time to live of a failed review, which counts as a denial.
const FAILURE_TTL: Duration = Duration::from_secs(2);
/// The timeout of a review, including the wait for a permit. Requesters must not wait one after
/// another for an API server that hangs.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum number of concurrent reviews.
const MAX_CONCURRENT: usize = 16;
/// The maximum number of namespaces reviewed for one request.
const MAX_NAMESPACES: usize = 1024;
/// Memory budget of the cache in bytes. A requester may have very many groups.
pub(crate) const CACHE_BUDGET: usize = 4 << 20;

/// Checks and caches which sessions a requester may join under RBAC.
#[derive(Debug)]
pub(crate) struct JoinAuthorizer {
    reviews: Api<SubjectAccessReview>,
    cache: Mutex<ReviewCache>,
    permits: Semaphore,
}

/// The join rights of a requester, and the namespaces they were reviewed for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ReviewedRights {
    pub(crate) rights: JoinRights,
    pub(crate) namespaces: BTreeSet<Box<str>>,
}

/// A requester and the namespace of a review; `None` stands for all namespaces.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct ReviewKey {
    requester: Arc<Requester>,
    namespace: Option<Box<str>>,
}

/// A verdict and the time until which it is valid. While the review is in flight, other requests
/// wait for the same verdict.
type Verdict = Arc<OnceCell<(bool, Instant)>>;

#[derive(Debug, Default)]
struct ReviewCache {
    /// Verdicts, each with its sequence number.
    verdicts: HashMap<ReviewKey, (u64, Verdict)>,
    /// Keys by sequence number, the oldest first.
    by_age: BTreeMap<u64, ReviewKey>,
    next_sequence: u64,
    size: usize,
}

impl JoinAuthorizer {
    /// Creates an authorizer with an empty cache.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
            cache: Mutex::default(),
            permits: Semaphore::new(MAX_CONCURRENT),
        }
    }

    /// Returns where the requester may join, in one namespace or in all.
    ///
    /// Only namespaces where the right to join would reveal a key or a filter are reviewed.
    pub(crate) async fn join_rights(
        &self,
        requester: &Arc<Requester>,
        policies: &PolicySet,
        store: &Store,
        namespace: Option<&str>,
    ) -> ReviewedRights {
        let without_rights = policies.viewer(requester, JoinRights::Nowhere);
        let namespaces = store.index().namespaces_with_hidden_secrets(namespace, &without_rights);
        if namespaces.is_empty() {
            return ReviewedRights::default();
        }
        // A requester who may join everywhere needs one review instead of many.
        if namespaces.len() > 1 && self.may_join(requester, None).await {
            return ReviewedRights { rights: JoinRights::Everywhere, namespaces };
        }
        if namespaces.len() > MAX_NAMESPACES {
            warn!(
                namespaces = namespaces.len(),
                "too many namespaces to review: keys and filters stay hidden in the rest"
            );
        }
        let mut reviews = Vec::new();
        for namespace in namespaces.iter().take(MAX_NAMESPACES) {
            let review = async move {
                let allowed = self.may_join(requester, Some(namespace)).await;
                allowed.then(|| namespace.clone())
            };
            reviews.push(review.boxed());
        }
        let verdicts = join_all(reviews).await;
        let allowed: BTreeSet<_> = verdicts.into_iter().flatten().collect();
        let rights = if allowed.is_empty() { JoinRights::Nowhere } else { JoinRights::In(allowed) };
        ReviewedRights { rights, namespaces }
    }

    /// Returns whether the requester may join sessions in a namespace, or in all.
    pub(crate) async fn may_join(
        &self,
        requester: &Arc<Requester>,
        namespace: Option<&str>,
    ) -> bool {
        let key =
            ReviewKey { requester: Arc::clone(requester), namespace: namespace.map(Into::into) };
        let verdict = self.cache().get_or_insert(&key);
        let (allowed, _) = verdict.get_or_init(|| self.review(&key)).await;
        *allowed
    }

    async fn review(&self, key: &ReviewKey) -> (bool, Instant) {
        let (review, params) = (key.review(), PostParams::default());
        let request = async {
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await.ok();
            self.reviews.create(&params, &review).await
        };
        let error = match timeout(TIMEOUT, request).await {
            Ok(Ok(review)) => {
                let allowed = review.status.is_some_and(|status| status.allowed);
                return (allowed, Instant::now() + VERDICT_TTL);
            }
            Ok(Err(error)) => summary(&error),
            Err(_) => format!("no response within {TIMEOUT:?}"),
        };
        warn!(error, "failed to review the right to join: keys and filters stay hidden");
        (false, Instant::now() + FAILURE_TTL)
    }

    fn cache(&self) -> MutexGuard<'_, ReviewCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReviewKey {
    fn review(&self) -> SubjectAccessReview {
        let Requester { username, uid, groups, extra } = &*self.requester;
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(username.clone()),
                uid: uid.clone(),
                groups: Some(groups.clone()),
                extra: Some(extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: self.namespace.as_deref().map(Into::into),
                    verb: Some("create".into()),
                    group: Some(TRACKER_GROUP.into()),
                    version: Some(TRACKER_VERSION.into()),
                    resource: Some(TRACKERS.into()),
                    subresource: Some(JOIN_SUBRESOURCE.into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }

    /// Returns the approximate size in bytes.
    fn size(&self) -> usize {
        let requester = &*self.requester;
        let texts = requester
            .groups
            .iter()
            .chain(requester.extra.keys())
            .chain(requester.extra.values().flatten());
        let texts: usize = texts.map(|text| text.len() + 32).sum();
        256 + requester.username.len() + texts + self.namespace.as_deref().map_or(0, str::len)
    }
}

impl ReviewCache {
    /// Returns the cached verdict, or an empty one that the first caller must fill.
    fn get_or_insert(&mut self, key: &ReviewKey) -> Verdict {
        let now = Instant::now();
        let is_valid = |verdict: &Verdict| verdict.get().is_none_or(|(_, until)| *until > now);
        if let Some((sequence, verdict)) = self.verdicts.get(key) {
            if is_valid(verdict) {
                return Arc::clone(verdict);
            }
            let sequence = *sequence;
            self.remove(sequence);
        }
        let size = key.size();
        // Evict the oldest first, since they expire first. Requests that wait for an evicted
        // verdict hold a reference to it.
        while self.size + size > CACHE_BUDGET
            && let Some((sequence, _)) = self.by_age.first_key_value()
        {
            let sequence = *sequence;
            self.remove(sequence);
        }
        let verdict = Verdict::default();
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.by_age.insert(sequence, key.clone());
        self.verdicts.insert(key.clone(), (sequence, Arc::clone(&verdict)));
        self.size += size;
        verdict
    }

    fn remove(&mut self, sequence: u64) {
        if let Some(key) = self.by_age.remove(&sequence) {
            self.verdicts.remove(&key);
            self.size = self.size.saturating_sub(key.size());
        }
    }
}

#[cfg(test)]
#[path = "join_rights_tests.rs"]
pub(crate) mod tests;
