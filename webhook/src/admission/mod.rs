//! Admission: from a review's bytes to a decision of the core, and back. No I/O happens here.

mod review;

use mirrord_sessions_core::{
    admission::{Decision, Outcome, session},
    text::printable,
};
use mirrord_sessions_crds::GROUP;

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

/// Answers a review about a Session's owner: stamps on CREATE, restores on UPDATE.
pub(crate) fn stamp_session(body: &[u8]) -> Result<Answer, Error> {
    let request =
        Request::parse(body).map_err(|error| Error::Invalid(printable(&error.to_string(), 512)))?;
    let decision = decide_session(&request);
    let outcome = match &decision.outcome {
        Outcome::Allow(changes) if changes.is_empty() => "allowed",
        Outcome::Allow(_) => "patched",
        Outcome::Deny(_) => "denied",
    };
    let review = Review::answer(request, decision).map_err(Error::Answer)?;
    let review = serde_json::to_vec(&review).map_err(Error::Answer)?;
    Ok(Answer { review, outcome })
}

fn decide_session(request: &Request) -> Decision {
    if !is_session(&request.resource) {
        let Resource {
            group,
            version,
            plural,
        } = &request.resource;
        return Decision::bad_request(printable(
            &format!(
                "this endpoint stamps sessions.{GROUP}, not {plural}.{version}.{group}: check the rules of the webhook configuration"
            ),
            512,
        ));
    }
    // The API server resets spec on status writes; there is nothing to stamp.
    if !request.sub_resource.is_empty() {
        return Decision::allow();
    }
    let missing = |field: &str| {
        Decision::bad_request(format!(
            "the {API_VERSION} request to {} a Session has no {field}",
            request.operation
        ))
    };
    match (
        request.operation.as_str(),
        &request.object,
        &request.old_object,
    ) {
        ("CREATE" | "UPDATE", None, _) => missing("object"),
        ("UPDATE", _, None) => missing("oldObject"),
        ("CREATE" | "UPDATE", Some(object), _)
            if object.get("kind").is_none_or(|kind| kind != "Session") =>
        {
            Decision::bad_request(printable(
                &format!(
                    "expected a Session, got an object of kind {}",
                    object.get("kind").unwrap_or(&serde_json::Value::Null)
                ),
                512,
            ))
        }
        ("CREATE", Some(object), _) => session::on_create(object, &request.requester()),
        ("UPDATE", Some(object), Some(old)) => session::on_update(object, old),
        // Nothing else can change an owner, and a mistake in a configuration must not block deletes.
        _ => Decision::allow(),
    }
}

fn is_session(resource: &Resource) -> bool {
    resource.group == GROUP && resource.plural == "sessions"
}

#[cfg(test)]
mod tests;
