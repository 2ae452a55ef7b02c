//! The bytes of answers: copies of what was serialised when a tracker changed.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde_json::{Value, json};

use super::{
    accept::{MetaVersion, Shape},
    age,
    options::Include,
};
use crate::sessions::{
    index::Page,
    tracker::{Form, Tracker},
};

/// How somebody wants trackers to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// As what.
    pub shape: Shape,
    /// What the rows of a table carry.
    pub include: Include,
    /// Seconds since 1970, to tell ages by.
    pub now: i64,
}

/// One of the trackers to be written.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The tracker.
    pub tracker: &'a Tracker,
    /// Whether with key and filters.
    pub revealed: bool,
    /// The version to show instead of its own: a deletion has one.
    pub version: Option<u64>,
}

/// Bytes that a list takes, more or less.
#[must_use]
pub fn size(page: &Page) -> usize {
    let items = page.items.iter();
    items.map(|(tracker, revealed)| tracker.form(*revealed).object.len() + 1).sum()
}

/// A list.
#[must_use]
pub fn list(page: &Page, look: Look) -> Vec<u8> {
    let mut out = Vec::with_capacity(size(page) + 4096);
    let mut metadata = json!({ "resourceVersion": page.version.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = next.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let (kind, api_version, field) = match look.shape {
        Shape::Object => ("SessionTrackerList", group_version(), "items"),
        Shape::Table(version) => ("Table", version.api_version().to_owned(), "rows"),
        Shape::Partial(version) | Shape::PartialList(version) => {
            ("PartialObjectMetadataList", version.api_version().to_owned(), "items")
        }
    };
    put(
        &mut out,
        &format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"#),
    );
    if matches!(look.shape, Shape::Table(_)) {
        put(&mut out, &format!(r#""columnDefinitions":{},"#, columns()));
    }
    put(&mut out, &format!(r#""{field}":["#));
    for (at, (tracker, revealed)) in page.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let shown = Shown { tracker, revealed: *revealed, version: None };
        match look.shape {
            Shape::Object => object(&mut out, shown),
            Shape::Table(version) => row(&mut out, shown, version, look),
            Shape::Partial(version) | Shape::PartialList(version) => {
                partial(&mut out, shown, version);
            }
        }
    }
    put(&mut out, "]}\n");
    out
}

/// One tracker on its own; of a table, with the columns or without.
pub fn one(out: &mut Vec<u8>, shown: Shown<'_>, look: Look, with_columns: bool) {
    match look.shape {
        Shape::Object => object(out, shown),
        Shape::Partial(version) | Shape::PartialList(version) => partial(out, shown, version),
        Shape::Table(version) => {
            let of = shown.version.unwrap_or(shown.tracker.version);
            let columns = if with_columns { columns() } else { Value::Null };
            put(
                out,
                &format!(
                    r#"{{"kind":"Table","apiVersion":"{}","metadata":{{"resourceVersion":"{of}"}},"columnDefinitions":{columns},"rows":["#,
                    version.api_version()
                ),
            );
            row(out, shown, version, look);
            put(out, "]}");
        }
    }
}

/// A bookmark: nothing but a version, in the form of an object.
pub fn bookmark(out: &mut Vec<u8>, version: u64, initial_end: bool, look: Look) {
    let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
    if initial_end {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let partial = |of: MetaVersion| json!({ "kind": "PartialObjectMetadata", "apiVersion": of.api_version(), "metadata": metadata });
    let object = match look.shape {
        Shape::Object => {
            json!({ "kind": "SessionTracker", "apiVersion": group_version(), "metadata": metadata })
        }
        Shape::Partial(of) | Shape::PartialList(of) => partial(of),
        Shape::Table(of) => json!({
            "kind": "Table",
            "apiVersion": of.api_version(),
            "metadata": { "resourceVersion": version.to_string() },
            "columnDefinitions": null,
            "rows": [{ "cells": vec![""; COLUMNS.len()], "object": partial(of) }],
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

/// A part of the object, with another version if need be.
fn slice(out: &mut Vec<u8>, form: &Form, start: usize, end: usize, version: Option<u64>) {
    match version {
        None => out.extend_from_slice(&form.object[start..end]),
        Some(version) => {
            out.extend_from_slice(&form.object[start..form.version.start]);
            put(out, &version.to_string());
            out.extend_from_slice(&form.object[form.version.end..end]);
        }
    }
}

fn object(out: &mut Vec<u8>, shown: Shown<'_>) {
    let form = shown.tracker.form(shown.revealed);
    slice(out, form, 0, form.object.len(), shown.version);
}

fn partial(out: &mut Vec<u8>, shown: Shown<'_>, version: MetaVersion) {
    let form = shown.tracker.form(shown.revealed);
    put(
        out,
        &format!(
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"{}","metadata":"#,
            version.api_version()
        ),
    );
    let metadata = &form.metadata;
    slice(out, form, metadata.start, metadata.end, shown.version);
    out.push(b'}');
}

fn row(out: &mut Vec<u8>, shown: Shown<'_>, version: MetaVersion, look: Look) {
    let form = shown.tracker.form(shown.revealed);
    // What has ended grows no older.
    let until = shown.tracker.ended.unwrap_or(look.now);
    let age =
        shown.tracker.created.map_or_else(|| "<unknown>".to_owned(), |at| age::human(until - at));
    put(out, r#"{"cells":["#);
    put(out, &form.cells_before);
    put(out, &format!(r#","{age}","#));
    put(out, &form.cells_after);
    put(out, r#"],"object":"#);
    match look.include {
        Include::Metadata => partial(out, shown, version),
        Include::Object => object(out, shown),
        Include::None => put(out, "null"),
    }
    out.push(b'}');
}

/// The columns of mirrord's status table, then what `-o wide` adds. kubectl shows the namespace
/// itself where there are several.
const COLUMNS: [(&str, &str, u8, &str); 10] = [
    ("Session ID", "name", 0, "The session's id, which is the name of its Session"),
    ("Target", "", 0, "What the run targets, as kind/name[/container/NAME]"),
    ("User", "", 0, "Who runs it, as whoami/kubernetes-user@hostname"),
    ("Ports", "", 0, "Which ports it steals or mirrors"),
    ("Session Duration", "", 0, "For how long it has been running"),
    ("State", "", 1, "pending, running or terminated"),
    ("Kind", "", 1, "How it reaches the cluster: job, ephemeral, process or operator"),
    ("Owner", "", 1, "Kubernetes user that created it, as the API server authenticated them"),
    ("Participants", "", 1, "Kubernetes users who take part: the owner, then those who joined"),
    ("Client Version", "", 1, "Version of mirrord that the client reports"),
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
