//! Reviews of SessionPolicies: a policy that cannot be parsed is rejected when it is written.

use mirrord_sessions_core::admission::{Decision, policy};

use super::{
    Review, objects,
    review::{Request, expect_kind, expect_resource, object},
};

/// Parses a review of a SessionPolicy.
pub(super) fn parse(request: &Request<'_>) -> Review {
    Review::Final(decide(request).unwrap_or_else(|decision| decision))
}

fn decide(request: &Request<'_>) -> Result<Decision, Decision> {
    expect_resource(request, "sessionpolicies", "checks")?;
    if !request.sub_resource.is_empty() {
        return Ok(Decision::allow());
    }
    match request.operation.as_str() {
        "CREATE" | "UPDATE" => {
            let sent = object(request, "object", request.object, objects::named_spec)?;
            expect_kind(&sent, "SessionPolicy")?;
            Ok(policy::on_write(&sent))
        }
        _ => Ok(Decision::allow()),
    }
}
