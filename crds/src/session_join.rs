//! `sessiontrackers/join`: taking part in somebody's session.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing: who joins is who asks.
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "visibility.operator.metalbear.co",
    version = "v1",
    kind = "SessionJoin",
    namespaced,
    status = "SessionJoinStatus",
    derive = "PartialEq",
    doc = "SessionJoin makes who creates it a participant of the session, and answers what a request needs to reach it."
)]
pub struct SessionJoinSpec {}

/// What it takes to reach the session.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionJoinStatus {
    /// mirrord's session key, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,

    /// The header by which a request reaches a session that has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<JoinHeader>,

    /// Kubernetes user names of those who take part: the owner, then those who joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,
}

/// A header of HTTP requests.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinHeader {
    /// Name of the header.
    pub name: String,
    /// Its value, or a part of it.
    pub value: String,
}

impl JoinHeader {
    /// The header of a session with this key, which applications that propagate baggage pass on.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        Self { name: "baggage".into(), value: format!("mirrord-session={key}") }
    }
}
