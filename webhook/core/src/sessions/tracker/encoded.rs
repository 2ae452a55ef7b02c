//! Serialized forms of a tracker.

use std::ops::Range;

use bytes::Bytes;
use mirrord_sessions_crds::{
    SessionTrackerSpec, SessionTrackerStatus, TRACKER_GROUP, TRACKER_VERSION,
};

use super::redact;

/// A tracker as JSON, with and without its secrets.
///
/// Both forms share their bytes before and after the part in which they differ.
#[derive(Debug)]
pub(super) struct EncodedTracker {
    object: Bytes,
    /// Range of the metadata in `object`, which both forms share.
    metadata: Range<usize>,
    /// Range of the resource version in the metadata, without the quotes.
    version: Range<usize>,
    /// Cells of the table row before the age, as JSON.
    cells_before: Box<str>,
    /// Cells of the table row after the age, as JSON.
    cells_after: Box<str>,
    /// The form without key and filters; `None` if the tracker has neither.
    redacted: Option<Redacted>,
}

/// The difference between a tracker without its secrets and the tracker with them.
#[derive(Debug)]
struct Redacted {
    /// Range of `object` that is replaced.
    replaced: Range<usize>,
    replacement: Box<[u8]>,
    cells_before: Box<str>,
}

/// One of the forms of a tracker.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    tracker: &'a EncodedTracker,
    redacted: Option<&'a Redacted>,
}

impl EncodedTracker {
    pub(super) fn new(
        metadata: &str,
        version: &str,
        spec: &SessionTrackerSpec,
        status: &SessionTrackerStatus,
    ) -> Result<Self, serde_json::Error> {
        let start = format!(
            r#"{{"kind":"SessionTracker","apiVersion":"{TRACKER_GROUP}/{TRACKER_VERSION}","metadata":"#
        );
        let object = |spec: &SessionTrackerSpec, status: &SessionTrackerStatus| {
            let (spec, status) = (serde_json::to_string(spec)?, serde_json::to_string(status)?);
            Ok::<_, serde_json::Error>(format!(
                r#"{start}{metadata},"spec":{spec},"status":{status}}}"#
            ))
        };
        let full = object(spec, status)?;
        let has_secrets =
            spec.key.is_some() || status.ports.iter().any(|port| port.filter.is_some());
        let redacted = if has_secrets {
            let (spec, status) = redact(spec, status);
            Some(Redacted::new(&full, &object(&spec, &status)?, cells_before(&spec, &status)?))
        } else {
            None
        };
        let at = version_offset(&full);
        Ok(Self {
            metadata: start.len()..start.len() + metadata.len(),
            version: at..at + version.len(),
            cells_before: cells_before(spec, status)?,
            cells_after: cells_after(spec, status)?,
            redacted,
            object: full.into(),
        })
    }

    /// Returns the form with or without key and filters.
    pub(super) fn form(&self, revealed: bool) -> Encoded<'_> {
        Encoded { tracker: self, redacted: self.redacted.as_ref().filter(|_| !revealed) }
    }

    pub(super) fn has_secrets(&self) -> bool {
        self.redacted.is_some()
    }

    /// Returns the JSON of the metadata.
    pub(super) fn metadata(&self) -> &[u8] {
        &self.object[self.metadata.clone()]
    }

    /// Returns the memory that both forms take, in bytes.
    pub(super) fn size(&self) -> usize {
        let redacted = self.redacted.as_ref();
        let redacted = redacted.map_or(0, |form| form.replacement.len() + form.cells_before.len());
        self.object.len() + self.cells_before.len() + self.cells_after.len() + redacted
    }
}

impl Redacted {
    fn new(full: &str, redacted: &str, cells_before: Box<str>) -> Self {
        let (full, redacted) = (full.as_bytes(), redacted.as_bytes());
        let shorter = full.len().min(redacted.len());
        let prefix = full.iter().zip(redacted).take_while(|(a, b)| a == b).count();
        let suffix = full.iter().rev().zip(redacted.iter().rev()).take_while(|(a, b)| a == b);
        let suffix = suffix.count().min(shorter - prefix);
        Self {
            replaced: prefix..full.len() - suffix,
            replacement: redacted[prefix..redacted.len() - suffix].into(),
            cells_before,
        }
    }
}

impl<'a> Encoded<'a> {
    /// Returns the size of the object as JSON, in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        let full = self.tracker.object.len();
        match self.redacted {
            Some(redacted) => full - redacted.replaced.len() + redacted.replacement.len(),
            None => full,
        }
    }

    /// Returns the object as JSON.
    #[must_use]
    pub fn object(self) -> Vec<u8> {
        let mut object = Vec::with_capacity(self.size());
        self.put_object(&mut object, None);
        object
    }

    /// Appends the object as JSON, with another resource version if `version` is set.
    pub fn put_object(self, out: &mut Vec<u8>, version: Option<u64>) {
        let object = &self.tracker.object;
        let rest = self.tracker.metadata.end;
        self.put_slice(out, 0..rest, version);
        match self.redacted {
            Some(Redacted { replaced, replacement, .. }) => {
                out.extend_from_slice(&object[rest..replaced.start]);
                out.extend_from_slice(replacement);
                out.extend_from_slice(&object[replaced.end..]);
            }
            None => out.extend_from_slice(&object[rest..]),
        }
    }

    /// Appends the metadata as JSON, with another resource version if `version` is set.
    pub fn put_metadata(self, out: &mut Vec<u8>, version: Option<u64>) {
        self.put_slice(out, self.tracker.metadata.clone(), version);
    }

    /// Returns the cells of the table row before the age, as JSON.
    #[must_use]
    pub fn cells_before(self) -> &'a str {
        self.redacted.map_or(&self.tracker.cells_before, |redacted| &redacted.cells_before)
    }

    /// Returns the cells of the table row after the age, as JSON.
    #[must_use]
    pub fn cells_after(self) -> &'a str {
        &self.tracker.cells_after
    }

    /// Appends a slice that contains the resource version.
    fn put_slice(self, out: &mut Vec<u8>, slice: Range<usize>, version: Option<u64>) {
        let EncodedTracker { object, version: stored, .. } = self.tracker;
        match version {
            None => out.extend_from_slice(&object[slice]),
            Some(version) => {
                out.extend_from_slice(&object[slice.start..stored.start]);
                out.extend_from_slice(version.to_string().as_bytes());
                out.extend_from_slice(&object[stored.end..slice.end]);
            }
        }
    }
}

fn cells_before(
    spec: &SessionTrackerSpec,
    status: &SessionTrackerStatus,
) -> Result<Box<str>, serde_json::Error> {
    cells([
        &spec.session_id,
        &spec.target,
        &spec.user,
        status.port_summary.as_deref().unwrap_or_default(),
    ])
}

fn cells_after(
    spec: &SessionTrackerSpec,
    status: &SessionTrackerStatus,
) -> Result<Box<str>, serde_json::Error> {
    cells([
        status.state.as_str(),
        spec.kind.as_str(),
        spec.owner.as_ref().map_or("", |owner| &owner.username),
        &status.participants.join(","),
        spec.client_version.as_deref().unwrap_or_default(),
    ])
}

fn cells<const N: usize>(texts: [&str; N]) -> Result<Box<str>, serde_json::Error> {
    let mut cells = Vec::with_capacity(N);
    for text in texts {
        cells.push(serde_json::to_string(text)?);
    }
    Ok(cells.join(",").into())
}

/// Returns the offset of the resource version, which precedes every field that a user controls.
fn version_offset(json: &str) -> usize {
    let field = r#""resourceVersion":""#;
    json.find(field).map_or(0, |at| at + field.len())
}

/// Replaces the resource version of serialized metadata.
pub(super) fn with_version(metadata: &str, version: &str) -> String {
    let (before, rest) = metadata.split_at(version_offset(metadata));
    let after = rest.find('"').map_or("", |end| &rest[end..]);
    format!("{before}{version}{after}")
}

/// Removes the labels from serialized metadata.
pub(super) fn without_labels(metadata: &str) -> Result<String, serde_json::Error> {
    let mut metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(metadata)?;
    metadata.remove("labels");
    // The resource version stays before every field that a user controls: without labels, there is
    // none.
    serde_json::to_string(&metadata)
}
