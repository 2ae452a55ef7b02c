//! What is sent to a subresource.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::ApiError;
use crate::text::printable;

/// The subresources of a tracker, which are created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subresource {
    /// Taking part.
    Join,
    /// Telling that it lives.
    Report,
}

impl Subresource {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Join, Self::Report];

    /// The last part of its path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Report => "report",
        }
    }

    /// The kind of what is sent and answered.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Join => "SessionJoin",
            Self::Report => "SessionReport",
        }
    }

    /// The subresource of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
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

/// The spec of an object of this kind, or none if it has none.
pub(crate) fn spec<T: DeserializeOwned>(
    body: &[u8],
    of: Subresource,
) -> Result<Option<T>, ApiError> {
    let kind = of.kind();
    let invalid = |why: &str| ApiError::bad_request(format!("the body is not a {kind}: {why}"));
    // serde would take a list for an object too.
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
