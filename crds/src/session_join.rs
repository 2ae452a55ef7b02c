//! The subresource `sessiontrackers/join`, by which a user joins a session.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SessionJoin makes the requester a participant of a session. The spec is empty: the requester is
/// known from authentication.
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
    doc = "SessionJoin makes its creator a participant of the session and returns the key and filters of the session."
)]
pub struct SessionJoinSpec {}

/// SessionJoinStatus contains the data that is needed to reach the session.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionJoinStatus {
    /// Session key of mirrord, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,

    /// Header that routes a request to a session with a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<JoinHeader>,

    /// Kubernetes user names of the participants: the owner first, then the users who joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,
}

/// JoinHeader is a header of HTTP requests.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinHeader {
    /// Name of the header.
    pub name: String,
    /// Value of the header, or a part of it.
    pub value: String,
}

impl JoinHeader {
    /// Returns the header of a session with a key. Applications that propagate baggage pass it on.
    #[must_use]
    pub fn from_key(key: &str) -> Self {
        Self { name: "baggage".into(), value: format!("mirrord-session={key}") }
    }
}
