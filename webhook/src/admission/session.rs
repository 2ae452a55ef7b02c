//! Reviews of Sessions: the owner is stamped on CREATE and restored on UPDATE.

use mirrord_sessions_core::admission::{Decision, session};
use serde_json::Value;

use super::{
    NewRun, Review, objects,
    review::{Request, expect_kind, expect_resource, object},
};

/// Parses a review of a Session.
pub(super) fn parse(request: &Request<'_>) -> Review {
    parse_write(request).unwrap_or_else(Review::Final)
}

/// Parses a write. For a malformed review, or one that can't change the owner, the error is its
/// decision.
fn parse_write(request: &Request<'_>) -> Result<Review, Decision> {
    expect_resource(request, "sessions", "stamps")?;
    // The API server resets spec on status writes, so there is nothing to stamp.
    if !request.sub_resource.is_empty() {
        return Err(Decision::allow());
    }
    let sent = || {
        let sent = object(request, "object", request.object, objects::sent_identity)?;
        expect_kind(&sent, "Session")?;
        Ok(sent)
    };
    match request.operation.as_str() {
        "CREATE" => {
            let (sent, requester) = (sent()?, request.requester());
            let decision = session::on_create(&sent, &requester);
            let target = sent.pointer("/spec/target").and_then(Value::as_str);
            let claim = target.map(|target| (request.namespace.clone(), target.to_owned()));
            let run = NewRun::new(decision, requester, None, claim);
            Ok(Review::NewRun(Box::new(run)))
        }
        "UPDATE" => {
            let old = object(request, "oldObject", request.old_object, objects::stored_identity)?;
            Ok(Review::Final(session::on_update(&sent()?, &old)))
        }
        // No other operation can change an owner, and an error in a webhook configuration must not
        // block deletions.
        _ => Err(Decision::allow()),
    }
}
