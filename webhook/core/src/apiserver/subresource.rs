//! The subresources of trackers and the parsing of their bodies.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::ApiError;
use crate::text::printable;

/// A subresource of trackers; each supports only create.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subresource {
    /// Adds the requester to the participants.
    Join,
    /// Reports that the session is live.
    Report,
}

impl Subresource {
    /// The subresources of trackers.
    pub const ALL: [Self; 2] = [Self::Join, Self::Report];

    /// Returns the last segment of the path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Report => "report",
        }
    }

    /// Returns the kind of the request and the response.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Join => "SessionJoin",
            Self::Report => "SessionReport",
        }
    }

    /// Returns the subresource of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subresource| subresource.name() == name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

/// Parses the body for a subresource and returns its spec, if any.
pub(crate) fn parse_spec<T: DeserializeOwned>(
    body: &[u8],
    subresource: Subresource,
) -> Result<Option<T>, ApiError> {
    let kind = subresource.kind();
    let invalid =
        |reason: &str| ApiError::bad_request(format!("the body is not a {kind}: {reason}"));
    // serde also deserializes a struct from a list.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(invalid("expected a JSON object"));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(&printable(&error.to_string(), 300)))?;
    let version = format!("{TRACKER_GROUP}/{TRACKER_VERSION}");
    if envelope.api_version != version || envelope.kind != kind {
        return Err(invalid(&format!(
            "expected apiVersion {version:?} and kind {kind:?}, got {:?} and {:?}",
            printable(&envelope.api_version, 100),
            printable(&envelope.kind, 100)
        )));
    }
    let Some(spec) = envelope.spec else {
        return Ok(None);
    };
    if !spec.get().starts_with('{') {
        return Err(ApiError::invalid(kind, "spec", "expected an object"));
    }
    serde_json::from_str(spec.get())
        .map(Some)
        .map_err(|error| ApiError::invalid(kind, "spec", &printable(&error.to_string(), 300)))
}
