//! What `fuzz/` tries.

use mirrord_sessions_core::{identity::Requester, policy::PolicySet};

use crate::admission::{self, AgentReview, Neighbours, Stop};

/// How many endpoints there are.
pub const ENDPOINTS: usize = 4;

struct Nobody;

impl Neighbours for Nobody {
    fn warning(&self, _: &str, _: &[&str], _: &Requester) -> Option<String> {
        None
    }
}

/// What an endpoint of admission answers; none if it isn't a review.
#[must_use]
pub fn review(endpoint: usize, body: &[u8]) -> Option<Vec<u8>> {
    let answer = match endpoint {
        0 => admission::stamp_session(body, &Nobody),
        1 => AgentReview::parse(body).and_then(|review| review.answer(None, &Nobody)),
        2 => admission::validate_policy(body, &Nobody),
        _ => Stop::parse(body).and_then(|stop| {
            let policies = PolicySet::default();
            let may_join = stop.asks_joining(Some(&policies)).is_some();
            Ok(stop.answer(Some(&policies), may_join)?.0)
        }),
    };
    answer.ok().map(|answer| answer.review)
}
