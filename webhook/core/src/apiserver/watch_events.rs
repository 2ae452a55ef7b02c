//! Watch events as bytes, one JSON object per line.

use std::sync::Arc;

use super::{
    ApiError,
    render::{self, RenderItem, RenderOptions},
};
use crate::sessions::Tracker;

/// `type` of an event for a tracker that the client starts to see.
pub(super) const ADDED: &str = "ADDED";
/// `type` of an event for a tracker that has changed.
pub(super) const MODIFIED: &str = "MODIFIED";
/// `type` of an event for a tracker that the client no longer sees.
pub(super) const DELETED: &str = "DELETED";

/// A visible tracker, and whether its key and filters are revealed.
pub(super) type VisibleTracker<'a> = (&'a Arc<Tracker>, bool);

/// Buffer of serialized watch events.
#[derive(Debug)]
pub struct EventBuffer {
    /// The serialized events, one per line.
    pub bytes: Vec<u8>,
    options: RenderOptions,
    columns_sent: bool,
}

impl EventBuffer {
    /// Returns an empty buffer.
    #[must_use]
    pub fn new(options: RenderOptions) -> Self {
        Self { bytes: Vec::new(), options, columns_sent: false }
    }

    /// Sets the time for ages in table rows, in seconds since 1970.
    pub fn set_now(&mut self, now: i64) {
        self.options.now = now;
    }

    /// Appends an event; `version` replaces the resource version of the tracker.
    pub(super) fn push(
        &mut self,
        event_type: &str,
        tracker: &Tracker,
        revealed: bool,
        version: Option<u64>,
    ) {
        let item = RenderItem { tracker, revealed, version };
        self.open(event_type);
        // Like the API server, send column definitions with the first event only.
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        render::tracker(&mut self.bytes, item, self.options, with_columns);
        self.close();
    }

    /// Appends the events that take a client from one state of a tracker to another.
    ///
    /// No event has a resource version newer than `max_version`.
    pub(super) fn push_difference(
        &mut self,
        old: Option<VisibleTracker<'_>>,
        new: Option<VisibleTracker<'_>>,
        max_version: u64,
    ) {
        let version = |tracker: &Tracker| (tracker.version > max_version).then_some(max_version);
        match (old, new) {
            (None, None) => {}
            (Some((old, was_revealed)), Some((new, revealed))) if old.uid == new.uid => {
                if !Arc::ptr_eq(old, new) || was_revealed != revealed {
                    self.push(MODIFIED, new, revealed, version(new));
                }
            }
            (old, new) => {
                if let Some((old, _)) = old {
                    // The right to see the secrets may have been withdrawn.
                    self.push(DELETED, old, false, version(old));
                }
                if let Some((new, revealed)) = new {
                    self.push(ADDED, new, revealed, version(new));
                }
            }
        }
    }

    /// Appends a bookmark of a version.
    pub fn push_bookmark(&mut self, version: u64, ends_initial_events: bool) {
        self.open("BOOKMARK");
        render::bookmark(&mut self.bytes, version, ends_initial_events, self.options);
        self.close();
    }

    /// Appends the error that ends a watch.
    pub fn push_error(&mut self, error: &ApiError) {
        self.open("ERROR");
        let status = error.status().to_string();
        self.bytes.extend_from_slice(status.as_bytes());
        self.close();
    }

    fn open(&mut self, event_type: &str) {
        let start = format!(r#"{{"type":"{event_type}","object":"#);
        self.bytes.extend_from_slice(start.as_bytes());
    }

    fn close(&mut self) {
        self.bytes.extend_from_slice(b"}\n");
    }
}
