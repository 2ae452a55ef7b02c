//! Recorded requests and objects of mirrord 3.250.0, which `tests/data/agents` describes.

use k8s_openapi::api::batch::v1::Job;
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/agents/", $name))
    };
}

/// Request body that creates the Job of a targeted agent.
pub(crate) const DEFAULT: &str = fixture!("default.job-request-body.json");
/// Running Job of a targeted agent with annotations of the user.
pub(crate) const RUNNING: &str = fixture!("agent-job-running.json");
/// Stored Job of a targetless agent.
pub(crate) const TARGETLESS: &str = fixture!("targetless.job-stored.json");
/// Request body that adds an agent as an ephemeral container.
pub(crate) const EPHEMERAL: &str = fixture!("ephemeral.ephemeral-request-body.json");

pub(crate) fn value(fixture: &str) -> Value {
    serde_json::from_str(fixture).unwrap()
}

pub(crate) fn job(fixture: &str) -> Job {
    serde_json::from_str(fixture).unwrap()
}
