//! What mirrord 3.250.0 really sends; `tests/data/agents` says more.

use k8s_openapi::api::batch::v1::Job;
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/agents/", $name))
    };
}

/// A targeted agent's Job, as it is sent.
pub(crate) const DEFAULT: &str = fixture!("default.job-request-body.json");
/// A targeted agent's Job while its run goes on, with annotations of the user's.
pub(crate) const RUNNING: &str = fixture!("agent-job-running.json");
/// A targetless agent's Job, as it is stored.
pub(crate) const TARGETLESS: &str = fixture!("targetless.job-stored.json");
/// The update that adds an agent as an ephemeral container.
pub(crate) const EPHEMERAL: &str = fixture!("ephemeral.ephemeral-request-body.json");

pub(crate) fn value(fixture: &str) -> Value {
    serde_json::from_str(fixture).unwrap()
}

pub(crate) fn job(fixture: &str) -> Job {
    serde_json::from_str(fixture).unwrap()
}
