//! The subresource `sessiontrackers/report`, by which an owner reports on a session.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Port,
    session::{MAX_PORTS, MAX_PROCESSES, MAX_VERSION},
};

/// SessionReport is the current state of a run, as reported by its owner.
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
    doc = "SessionReport is a heartbeat of a session with its current ports. Only the owner of the session may create it."
)]
#[serde(rename_all = "camelCase")]
pub struct SessionReportSpec {
    /// Ports whose traffic the run steals or mirrors. The list is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PORTS))]
    pub ports: Vec<Port>,

    /// Names of the processes of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROCESSES))]
    pub processes: Vec<String>,

    /// Version of mirrord on the client, if the run uses it. It is stored for a Session without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_VERSION))]
    pub client_version: Option<String>,

    /// Whether the run has ended without being stopped. This is the last report: the Session is
    /// deleted on behalf of its owner and shown as ended. Other fields of the report are ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// SessionReportStatus is the period for which the report is valid.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionReportStatus {
    /// Time of the last stored report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// Time at which the session expires without another report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// Interval of reports in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<i32>,
}
