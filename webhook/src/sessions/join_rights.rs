//! Who may join where, as RBAC has it: asked by SubjectAccessReview, and remembered for some
//! seconds.

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
    apiserver::Subresource,
    identity::Requester,
    policy::{JoinRights, PolicySet},
    text::printable,
};
use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout},
};
use tracing::warn;

use super::store::Store;

/// How long an answer counts.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10);
/// How long it counts as a no that there was none.
const FAILED: Duration = Duration::from_secs(2);
/// How long an answer may take, the wait for a turn included: an API server that hangs must not be
/// waited for once for each who asks.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions that are open at once.
const QUESTIONS: usize = 16;
/// Namespaces that one request is asked about.
const NAMESPACES: usize = 1024;
/// What all remembered questions may hold together: a requester may have very many groups.
const BUDGET: usize = 8 << 20;

/// Asks and remembers.
#[derive(Debug)]
pub(crate) struct Rights {
    reviews: Api<SubjectAccessReview>,
    known: Mutex<Known>,
    open: Semaphore,
}

/// Where somebody may join, and the namespaces that this was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) joins: JoinRights,
    pub(crate) about: BTreeSet<Box<str>>,
}

/// Whether that requester may join there; everywhere, if no namespace is named.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Question {
    who: Arc<Requester>,
    namespace: Option<Box<str>>,
}

/// The answer, and until when it counts. While it is awaited, others wait for the same.
type Answer = Arc<OnceCell<(bool, Instant)>>;

#[derive(Debug, Default)]
struct Known {
    /// Each with its number in the order of asking.
    answers: HashMap<Question, (u64, Answer)>,
    order: BTreeMap<u64, Question>,
    count: u64,
    size: usize,
}

impl Rights {
    pub(crate) fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), known: Mutex::default(), open: Semaphore::new(QUESTIONS) }
    }

    /// Where the requester may join, as far as it makes a difference to what they see of a
    /// namespace, or of all.
    pub(crate) async fn of(
        &self,
        requester: &Arc<Requester>,
        policies: &PolicySet,
        store: &Store,
        namespace: Option<&str>,
    ) -> Asked {
        let without = policies.viewer(requester, JoinRights::Nowhere);
        let about = store.index().withheld(namespace, &without);
        if about.is_empty() {
            return Asked::default();
        }
        // One question instead of many, for those who may everywhere.
        if about.len() > 1 && self.may(requester, None).await {
            return Asked { joins: JoinRights::Everywhere, about };
        }
        if about.len() > NAMESPACES {
            warn!(
                namespaces = about.len(),
                "more namespaces than are asked about: in the rest keys and filters stay hidden"
            );
        }
        let mut questions = Vec::new();
        for namespace in about.iter().take(NAMESPACES) {
            let question = async move {
                let may = self.may(requester, Some(namespace)).await;
                may.then(|| namespace.clone())
            };
            questions.push(question.boxed());
        }
        let answers = join_all(questions).await;
        let allowed: BTreeSet<_> = answers.into_iter().flatten().collect();
        let joins = if allowed.is_empty() { JoinRights::Nowhere } else { JoinRights::In(allowed) };
        Asked { joins, about }
    }

    /// Whether the requester may join the sessions of a namespace, or all.
    pub(crate) async fn may(&self, who: &Arc<Requester>, namespace: Option<&str>) -> bool {
        let question = Question { who: Arc::clone(who), namespace: namespace.map(Into::into) };
        let answer = self.known().about(&question);
        let (may, _) = answer.get_or_init(|| self.ask(&question)).await;
        *may
    }

    async fn ask(&self, question: &Question) -> (bool, Instant) {
        let (review, params) = (question.review(), PostParams::default());
        let asked = async {
            // Never closed; and if it were, a question more would do no harm.
            let _turn = self.open.acquire().await.ok();
            self.reviews.create(&params, &review).await
        };
        let why = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => {
                let may = answer.status.is_some_and(|status| status.allowed);
                return (may, Instant::now() + REMEMBERED);
            }
            Ok(Err(error)) => printable(&error.to_string(), 300),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        warn!(
            error = why,
            "whether somebody may join sessions can't be asked: they see neither keys nor filters"
        );
        (false, Instant::now() + FAILED)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn review(&self) -> SubjectAccessReview {
        let Requester { username, uid, groups, extra } = &*self.who;
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
                    subresource: Some(Subresource::Join.name().into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }

    fn size(&self) -> usize {
        let who = &*self.who;
        let texts = who.groups.iter().chain(who.extra.keys()).chain(who.extra.values().flatten());
        let texts: usize = texts.map(|text| text.len() + 32).sum();
        256 + who.username.len() + texts + self.namespace.as_deref().map_or(0, str::len)
    }
}

impl Known {
    /// What is known or being asked; or what the first to look has to ask.
    fn about(&mut self, question: &Question) -> Answer {
        let now = Instant::now();
        let counts = |answer: &Answer| answer.get().is_none_or(|(_, until)| *until > now);
        if let Some((number, answer)) = self.answers.get(question) {
            if counts(answer) {
                return Arc::clone(answer);
            }
            let number = *number;
            self.forget(number);
        }
        let size = question.size();
        // The oldest go first: those that count no more, and then those that soon won't. Who waits
        // for an answer that isn't there yet holds it.
        while self.size + size > BUDGET
            && let Some((number, _)) = self.order.first_key_value()
        {
            let number = *number;
            self.forget(number);
        }
        let answer = Answer::default();
        let number = self.count;
        self.count += 1;
        self.order.insert(number, question.clone());
        let remembered = (number, Arc::clone(&answer));
        self.answers.insert(question.clone(), remembered);
        self.size += size;
        answer
    }

    fn forget(&mut self, number: u64) {
        if let Some(question) = self.order.remove(&number) {
            self.answers.remove(&question);
            self.size = self.size.saturating_sub(question.size());
        }
    }
}

#[cfg(test)]
#[path = "join_rights_tests.rs"]
pub(crate) mod tests;
