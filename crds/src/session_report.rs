//! `sessiontrackers/report`: what the owner of a session tells about it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Port,
    session::{MAX_PORTS, MAX_PROCESSES},
};

/// What the run does now.
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "visibility.operator.metalbear.co",
    version = "v1",
    kind = "SessionReport",
    namespaced,
    status = "SessionReportStatus",
    derive = "PartialEq",
    doc = "SessionReport tells that a session lives, and which ports it takes traffic of. Its owner alone creates it."
)]
#[serde(rename_all = "camelCase")]
pub struct SessionReportSpec {
    /// Ports that the run steals or mirrors, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PORTS))]
    pub ports: Vec<Port>,

    /// Names of the processes that run with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROCESSES))]
    pub processes: Vec<String>,

    /// The run is over, and nobody stopped it: the last report. Its Session is deleted, on behalf
    /// of its owner, and shown as ended. Whatever else the report says doesn't count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// Until when the report counts.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionReportStatus {
    /// When the cluster last wrote down that it heard of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// When the session counts as over, if nothing more is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// How often to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<i32>,
}
