//! Entry points of the fuzz targets in `fuzz/`.

use mirrord_sessions_core::{identity::Requester, policy::PolicySet};

use crate::admission::{self, ConcurrentSessions, ENDPOINTS};

/// The number of admission endpoints.
pub const ENDPOINT_COUNT: usize = ENDPOINTS.len();

struct NoSessions;

impl ConcurrentSessions for NoSessions {
    fn warning(&self, _: &str, _: &[&str], _: &Requester) -> Option<String> {
        None
    }
}

/// Returns the AdmissionReview that an endpoint responds with, or `None` for an invalid body.
#[must_use]
pub fn review(endpoint: usize, body: &[u8]) -> Option<Vec<u8>> {
    let (uid, review) = admission::parse(ENDPOINTS[endpoint % ENDPOINT_COUNT], body).ok()?;
    let policies = PolicySet::default();
    let decision = admission::decide_offline(review, Some(&policies), &NoSessions);
    admission::serialize(uid, decision).ok()
}
