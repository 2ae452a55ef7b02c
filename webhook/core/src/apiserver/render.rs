//! Rendering of responses from the serialized forms of trackers.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde_json::{Value, json};

use super::{
    content_negotiation::{MetaVersion, Representation},
    duration,
    list::Page,
    options::IncludeObject,
};
use crate::sessions::tracker::Tracker;

/// Representation of trackers in a response.
#[derive(Clone, Copy, Debug)]
pub struct RenderOptions {
    /// The representation of each object.
    pub representation: Representation,
    /// The part of the object that each table row includes.
    pub include: IncludeObject,
    /// Current time for ages, in seconds since 1970.
    pub now: i64,
}

/// A tracker to render.
#[derive(Clone, Copy, Debug)]
pub struct RenderItem<'a> {
    /// The tracker to render.
    pub tracker: &'a Tracker,
    /// Includes key and filters if true.
    pub revealed: bool,
    /// The resource version to show instead of the tracker's own, such as that of a deletion.
    pub version: Option<u64>,
}

/// Returns the approximate size of a rendered page in bytes.
#[must_use]
pub fn estimated_size(page: &Page) -> usize {
    let items = page.items.iter();
    items.map(|(tracker, revealed)| tracker.encoded(*revealed).size() + 1).sum()
}

/// Renders a page of a list.
#[must_use]
pub fn list(page: &Page, options: RenderOptions) -> Vec<u8> {
    let mut out = Vec::with_capacity(estimated_size(page) + 4096);
    let mut metadata = json!({ "resourceVersion": page.version.to_string() });
    if let Some(token) = &page.continue_token {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let (kind, api_version, field) = match options.representation {
        Representation::Object => ("SessionTrackerList", group_version(), "items"),
        Representation::Table(version) => ("Table", version.api_version().to_owned(), "rows"),
        Representation::Partial(version) | Representation::PartialList(version) => {
            ("PartialObjectMetadataList", version.api_version().to_owned(), "items")
        }
    };
    put(
        &mut out,
        &format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"#),
    );
    if matches!(options.representation, Representation::Table(_)) {
        put(&mut out, &format!(r#""columnDefinitions":{},"#, columns()));
    }
    put(&mut out, &format!(r#""{field}":["#));
    for (at, (tracker, revealed)) in page.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let item = RenderItem { tracker, revealed: *revealed, version: None };
        match options.representation {
            Representation::Object => put_object(&mut out, item),
            Representation::Table(version) => put_row(&mut out, item, version, options),
            Representation::Partial(version) | Representation::PartialList(version) => {
                put_partial(&mut out, item, version);
            }
        }
    }
    put(&mut out, "]}\n");
    out
}

/// Appends a single tracker; a table includes column definitions if `with_columns`.
pub fn tracker(
    out: &mut Vec<u8>,
    item: RenderItem<'_>,
    options: RenderOptions,
    with_columns: bool,
) {
    match options.representation {
        Representation::Object => put_object(out, item),
        Representation::Partial(version) | Representation::PartialList(version) => {
            put_partial(out, item, version);
        }
        Representation::Table(version) => {
            let resource_version = item.version.unwrap_or(item.tracker.version);
            let columns = if with_columns { columns() } else { Value::Null };
            put(
                out,
                &format!(
                    r#"{{"kind":"Table","apiVersion":"{}","metadata":{{"resourceVersion":"{resource_version}"}},"columnDefinitions":{columns},"rows":["#,
                    version.api_version()
                ),
            );
            put_row(out, item, version, options);
            put(out, "]}");
        }
    }
}

/// Appends a bookmark, an object that holds nothing but a resource version.
pub fn bookmark(
    out: &mut Vec<u8>,
    version: u64,
    ends_initial_events: bool,
    options: RenderOptions,
) {
    let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
    if ends_initial_events {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let partial = |meta: MetaVersion| json!({ "kind": "PartialObjectMetadata", "apiVersion": meta.api_version(), "metadata": metadata });
    let object = match options.representation {
        Representation::Object => {
            json!({ "kind": "SessionTracker", "apiVersion": group_version(), "metadata": metadata })
        }
        Representation::Partial(meta) | Representation::PartialList(meta) => partial(meta),
        Representation::Table(meta) => json!({
            "kind": "Table",
            "apiVersion": meta.api_version(),
            "metadata": { "resourceVersion": version.to_string() },
            "columnDefinitions": null,
            "rows": [{ "cells": vec![""; COLUMNS.len()], "object": partial(meta) }],
        }),
    };
    put(out, &object.to_string());
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn group_version() -> String {
    format!("{TRACKER_GROUP}/{TRACKER_VERSION}")
}

fn put_object(out: &mut Vec<u8>, item: RenderItem<'_>) {
    item.tracker.encoded(item.revealed).put_object(out, item.version);
}

fn put_partial(out: &mut Vec<u8>, item: RenderItem<'_>, version: MetaVersion) {
    put(
        out,
        &format!(
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"{}","metadata":"#,
            version.api_version()
        ),
    );
    item.tracker.encoded(item.revealed).put_metadata(out, item.version);
    out.push(b'}');
}

fn put_row(out: &mut Vec<u8>, item: RenderItem<'_>, version: MetaVersion, options: RenderOptions) {
    let encoded = item.tracker.encoded(item.revealed);
    // The age of an ended session stops at its end.
    let until = item.tracker.ended_at.unwrap_or(options.now);
    let age = item
        .tracker
        .created_at
        .map_or_else(|| "<unknown>".to_owned(), |at| duration::human_duration(until - at));
    put(out, r#"{"cells":["#);
    put(out, encoded.cells_before());
    put(out, &format!(r#","{age}","#));
    put(out, encoded.cells_after());
    put(out, r#"],"object":"#);
    match options.include {
        IncludeObject::Metadata => put_partial(out, item, version),
        IncludeObject::Object => put_object(out, item),
        IncludeObject::None => put(out, "null"),
    }
    out.push(b'}');
}

/// Name, format, priority and description of each column.
///
/// The first five are those of mirrord's status table. The state follows, because ended sessions are
/// listed for some minutes. `-o wide` adds the others, and kubectl adds the namespace itself.
const COLUMNS: [(&str, &str, u8, &str); 10] = [
    ("Session ID", "name", 0, "ID of the session, which is the name of its Session"),
    ("Target", "", 0, "Target of the run, as kind/name[/container/NAME]"),
    ("User", "", 0, "User of the run, as whoami/kubernetes-user@hostname"),
    ("Ports", "", 0, "Ports that the run steals or mirrors"),
    ("Session Duration", "", 0, "Duration of the run"),
    ("State", "", 0, "State of the run: pending, running, terminating or terminated"),
    ("Kind", "", 1, "Kind of the session: job, ephemeral, process or operator"),
    (
        "Owner",
        "",
        1,
        "Kubernetes user that created the session, as authenticated by the API server",
    ),
    ("Participants", "", 1, "Kubernetes users of the session: the owner, then those who joined"),
    ("Client Version", "", 1, "Version of mirrord, as claimed by the client"),
];

fn columns() -> Value {
    COLUMNS
        .iter()
        .map(|(name, format, priority, description)| {
            json!({
                "name": name,
                "type": "string",
                "format": format,
                "description": description,
                "priority": priority,
            })
        })
        .collect()
}
