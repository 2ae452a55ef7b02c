//! Admission: from a review's bytes to a decision of the core, and back. No I/O happens here.

mod agent;
pub(crate) mod delete;
mod objects;
mod review;
mod reviews;

use mirrord_sessions_core::{
    admission::{Decision, Outcome, policy, session},
    identity::Requester,
    text::printable,
};
use mirrord_sessions_crds::GROUP;
use serde_json::{Value, value::RawValue};

pub(crate) use agent::AgentReview;
pub(crate) use delete::Stop;
use review::{API_VERSION, Request, Resource, Review};

/// Why a review gets no answer of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The sender's fault.
    #[error("{0}")]
    Invalid(String),
    /// Ours.
    #[error("the answer can't be written: {0}")]
    Answer(serde_json::Error),
}

/// The answer to a review.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The review that goes back.
    pub(crate) review: Vec<u8>,
    /// What became of the request, in a word.
    pub(crate) outcome: &'static str,
}

/// Who knows of other sessions.
pub(crate) trait Neighbours {
    /// What to tell who starts a run on a target where others are already.
    /// The target may be called by several names, of which the first is told.
    fn warning(&self, namespace: &str, names: &[&str], requester: &Requester) -> Option<String>;
}

/// Answers a review about a Session's owner: stamps on CREATE, restores on UPDATE.
pub(crate) fn stamp_session(body: &[u8], neighbours: &dyn Neighbours) -> Result<Answer, Error> {
    answer(body, |request| {
        expect(request, "sessions", "stamps")?;
        decide_session(request, neighbours)
    })
}

/// Answers a review about a SessionPolicy: whether it can be read.
pub(crate) fn validate_policy(body: &[u8], _: &dyn Neighbours) -> Result<Answer, Error> {
    answer(body, |request| {
        expect(request, "sessionpolicies", "checks")?;
        decide_policy(request)
    })
}

/// A decision; or, as an error, the one on a review that asks for none.
type Decided = Result<Decision, Decision>;

fn answer(body: &[u8], decide: impl FnOnce(&Request<'_>) -> Decided) -> Result<Answer, Error> {
    let request =
        Request::parse(body).map_err(|error| Error::Invalid(printable(&error.to_string(), 512)))?;
    let decision = decide(&request).unwrap_or_else(|decision| decision);
    written(request.uid, decision)
}

fn written(uid: String, decision: Decision) -> Result<Answer, Error> {
    let outcome = match &decision.outcome {
        Outcome::Allow(changes) if changes.is_empty() => "allowed",
        Outcome::Allow(_) => "patched",
        Outcome::Deny(_) => "denied",
    };
    let review = Review::answer(uid, decision).map_err(Error::Answer)?;
    let review = serde_json::to_vec(&review).map_err(Error::Answer)?;
    Ok(Answer { review, outcome })
}

/// That the review is about a resource that the endpoint is for.
fn expect(request: &Request<'_>, plural: &str, does: &str) -> Result<(), Decision> {
    let sent = &request.resource;
    if sent.group == GROUP && sent.plural == plural {
        return Ok(());
    }
    let Resource { group, version, plural: sent } = sent;
    Err(Decision::bad_request(printable(
        &format!(
            "this endpoint {does} {plural}.{GROUP}, not {sent}.{version}.{group}: check the rules of the webhook configuration"
        ),
        512,
    )))
}

/// What is needed of one of the request's objects.
fn part<T>(
    request: &Request<'_>,
    field: &str,
    object: Option<&RawValue>,
    take: impl FnOnce(&RawValue) -> Result<T, serde_json::Error>,
) -> Result<T, Decision> {
    let object = object.ok_or_else(|| {
        Decision::bad_request(format!(
            "the {API_VERSION} request to {} {} has no {field}",
            request.operation, request.resource.plural
        ))
    })?;
    take(object).map_err(|error| {
        Decision::bad_request(printable(&format!("{field} can't be read: {error}"), 512))
    })
}

fn expect_kind(object: &Value, kind: &str) -> Result<(), Decision> {
    let sent = object.get("kind");
    if sent.is_some_and(|sent| sent == kind) {
        return Ok(());
    }
    Err(Decision::bad_request(printable(
        &format!("expected a {kind}, got an object of kind {}", sent.unwrap_or(&Value::Null)),
        512,
    )))
}

fn decide_session(request: &Request<'_>, neighbours: &dyn Neighbours) -> Decided {
    // The API server resets spec on status writes; there is nothing to stamp.
    if !request.sub_resource.is_empty() {
        return Ok(Decision::allow());
    }
    let object = || {
        let object = part(request, "object", request.object, objects::sent_identity)?;
        expect_kind(&object, "Session")?;
        Ok(object)
    };
    match request.operation.as_str() {
        "CREATE" => {
            let (object, requester) = (object()?, request.requester());
            let decision = session::on_create(&object, &requester);
            let target = object.pointer("/spec/target").and_then(Value::as_str);
            Ok(match target {
                Some(target) if goes_on(&decision, &requester) => {
                    let warning = neighbours.warning(&request.namespace, &[target], &requester);
                    warned(decision, warning)
                }
                _ => decision,
            })
        }
        "UPDATE" => {
            let old = part(request, "oldObject", request.old_object, objects::stored_identity)?;
            Ok(session::on_update(&object()?, &old))
        }
        // Nothing else can change an owner, and a mistake in a configuration must not block
        // deletes.
        _ => Ok(Decision::allow()),
    }
}

/// Whether the requester may be told of others on a target. The controller, which records what has
/// started already, has nobody to tell.
fn goes_on(decision: &Decision, requester: &Requester) -> bool {
    matches!(decision.outcome, Outcome::Allow(_)) && !requester.is_controller()
}

fn warned(decision: Decision, warning: Option<String>) -> Decision {
    match warning {
        Some(warning) => decision.warn(warning),
        None => decision,
    }
}

fn decide_policy(request: &Request<'_>) -> Decided {
    if !request.sub_resource.is_empty() {
        return Ok(Decision::allow());
    }
    match request.operation.as_str() {
        "CREATE" | "UPDATE" => {
            let object = part(request, "object", request.object, objects::named_spec)?;
            expect_kind(&object, "SessionPolicy")?;
            Ok(policy::on_write(&object))
        }
        _ => Ok(Decision::allow()),
    }
}

#[cfg(test)]
mod tests;
