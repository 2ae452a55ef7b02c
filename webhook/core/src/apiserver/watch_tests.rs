use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    apiserver::{
        content_negotiation::{MetaVersion, Representation},
        options::IncludeObject,
        render::RenderOptions,
    },
    policy::{
        JoinRights,
        fixtures::{policies, requester},
    },
    sessions::fixtures::{Fixture, session},
};

/// Returns a viewer that sees the sessions of this owner; `*` sees all, without secrets.
fn viewer_for(owner: &str) -> Viewer {
    let own = policies(
        "
        allow:
          rules:
          - resources: [session_tracker]
            verbs: [list]
            where: tracker.host_user == user.metadata.name || user.metadata.name == '*'
        ",
    );
    own.viewer(&requester(owner), JoinRights::Nowhere)
}

fn owned_session(name: &str, owner: &str) -> Fixture {
    session("shop", name).owned_by(owner).key("s3cret")
}

fn index() -> Index {
    let mut index = Index::default();
    index.replace(
        vec![owned_session("a", "alice").tracker(5), owned_session("b", "bob").tracker(7)],
        10,
    );
    index
}

fn key(name: &str) -> TrackerKey {
    TrackerKey { namespace: "shop".into(), name: name.into() }
}

fn watch(index: &Index, query: &str, owner: &'static str) -> Result<Watch, ApiError> {
    let options = ListOptions::parse(&format!("watch=1&{query}")).unwrap();
    Watch::start(index, Filter::new(Some("shop"), &options), &options, viewer_for(owner), &[])
}

fn events(watch: &mut Watch, index: &Index) -> Vec<String> {
    raw_events(watch, index, Representation::Object)
        .iter()
        .map(|event| {
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().unwrap_or("-");
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or("-");
            let key = if object["spec"]["key"].is_null() { "" } else { " key" };
            format!("{} {name} {version}{key}", event["type"].as_str().unwrap())
        })
        .collect()
}

fn raw_events(watch: &mut Watch, index: &Index, representation: Representation) -> Vec<Value> {
    let options = RenderOptions { representation, include: IncludeObject::Metadata, now: 0 };
    let mut events = EventBuffer::new(options);
    loop {
        match watch.step(index, &mut events, usize::MAX) {
            StepOutcome::More => {}
            StepOutcome::Idle => break,
            StepOutcome::Ended(error) => {
                events.push_error(&error);
                break;
            }
        }
    }
    let lines = String::from_utf8(events.bytes).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn starts_with_initial_events_or_at_version() {
    let index = index();
    for (query, expected) in [
        ("", &["ADDED a 5", "ADDED b 7"][..]),
        ("resourceVersion=0", &["ADDED a 5", "ADDED b 7"]),
        ("resourceVersion=10", &[]),
        ("resourceVersion=99", &[]),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            &["ADDED a 5", "ADDED b 7", "BOOKMARK - 10"],
        ),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", &["ADDED a 5", "ADDED b 7"]),
        ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", &[]),
        ("fieldSelector=metadata.name%3Db", &["ADDED b 7"]),
        ("fieldSelector=spec.key%3Ds3cret", &[]),
    ] {
        let mut watch = watch(&index, query, "*").unwrap();
        assert_eq!(events(&mut watch, &index), expected, "{query}");
    }
    let code = |query: &str| watch(&index, query, "*").unwrap_err().code;
    assert_eq!(code("resourceVersion=9"), 410);
    assert_eq!(
        code("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=11"),
        504
    );
}

#[test]
fn sends_changes_of_visible_trackers() {
    let mut index = index();
    let mut alice = watch(&index, "resourceVersion=10", "alice").unwrap();
    let mut labelled = watch(&index, "resourceVersion=10&labelSelector=x", "*").unwrap();
    index.apply(owned_session("c", "alice").tracker(11));
    index.apply(owned_session("d", "bob").tracker(12));
    index.apply(owned_session("a", "alice").label("x", "y").tracker(13));
    index.apply(owned_session("a", "alice").tracker(14));
    index.remove(&key("b"), 15);
    index.remove(&key("c"), 16);
    assert_eq!(
        events(&mut alice, &index),
        ["ADDED c 11 key", "MODIFIED a 13 key", "MODIFIED a 14 key", "DELETED c 16 key"]
    );
    assert_eq!(events(&mut labelled, &index), ["ADDED a 13", "DELETED a 14"]);
    assert_eq!(labelled.bookmark_version(), Some(16));
}

#[test]
fn new_viewer_deletes_hidden_and_adds_visible_trackers() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5 key"]);
    index.apply(owned_session("c", "bob").tracker(11));
    watch.set_viewer(&index, viewer_for("bob")).unwrap();
    assert_eq!(
        events(&mut watch, &index),
        // No event of a resync has a version newer than the one the client was up to date at.
        ["DELETED a 5", "ADDED b 7 key", "ADDED c 10 key"]
    );
    watch.set_viewer(&index, viewer_for("*")).unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5", "MODIFIED b 7", "MODIFIED c 11"]);
    watch.set_viewer(&index, viewer_for("*")).unwrap();
    assert!(events(&mut watch, &index).is_empty());
}

#[test]
fn pending_events_reveal_no_tracker_hidden_since() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5 key"]);
    // Pending: a tracker created and updated, one created and deleted, and an update of a tracker
    // that the client holds.
    index.apply(owned_session("c", "alice").tracker(11));
    index.apply(owned_session("c", "alice").target("pod/secret").tracker(12));
    index.apply(owned_session("d", "alice").tracker(13));
    index.remove(&key("d"), 14);
    index.apply(owned_session("a", "alice").target("pod/secret").tracker(15));
    watch.set_viewer(&index, viewer_for("bob")).unwrap();
    let raw = raw_events(&mut watch, &index, Representation::Object);
    let raw: Vec<String> = raw.iter().map(Value::to_string).collect();
    assert!(!raw.iter().any(|event| event.contains("pod/secret")), "{raw:?}");
    let events: Vec<&str> =
        raw.iter().map(|event| if event.contains("ADDED") { "ADDED" } else { "DELETED" }).collect();
    assert_eq!(events, ["DELETED", "ADDED"], "{raw:?}");
}

#[test]
fn pending_events_reveal_no_secret_withdrawn_since() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    index.apply(owned_session("c", "alice").tracker(11));
    watch.set_viewer(&index, viewer_for("*")).unwrap();
    for event in events(&mut watch, &index) {
        assert!(!event.contains("key"), "{event}");
    }
}

#[test]
fn ends_with_error_when_history_is_lost() {
    let mut index = index();
    let mut watch = watch(&index, "resourceVersion=10", "*").unwrap();
    for version in 11..=11 + crate::sessions::index::HISTORY as u64 {
        index.apply(owned_session("a", "alice").tracker(version));
    }
    assert_eq!(events(&mut watch, &index), ["ERROR - -"]);
}

#[test]
fn step_stops_at_byte_limit() {
    let index = index();
    let mut watch = watch(&index, "", "*").unwrap();
    let options = RenderOptions {
        representation: Representation::Object,
        include: IncludeObject::Metadata,
        now: 0,
    };
    let mut events = EventBuffer::new(options);
    assert_eq!(watch.step(&index, &mut events, 1), StepOutcome::More);
    let lines = String::from_utf8(events.bytes).unwrap();
    assert_eq!(lines.lines().count(), 1);
    assert_eq!(watch.bookmark_version(), None);
}

#[test]
fn initial_events_show_state_at_start() {
    let mut index = index();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = watch(&index, query, "*").unwrap();
    let mut out = EventBuffer::new(RenderOptions {
        representation: Representation::Object,
        include: IncludeObject::Metadata,
        now: 0,
    });
    assert_eq!(watch.step(&index, &mut out, 1), StepOutcome::More);
    index.apply(owned_session("a", "alice").tracker(11));
    index.apply(owned_session("b", "bob").tracker(12));
    index.apply(owned_session("c", "bob").tracker(13));
    assert_eq!(
        events(&mut watch, &index),
        ["ADDED b 7", "BOOKMARK - 10", "MODIFIED a 11", "MODIFIED b 12", "ADDED c 13"]
    );
}

#[test]
fn returns_410_if_requester_saw_other_trackers_at_version() {
    let mut index = index();
    index.apply(owned_session("c", "carol").tracker(11));
    index.remove(&key("c"), 12);
    let start = |from: u64, user: &str, others: &[Option<&str>]| {
        let options = ListOptions::parse(&format!("watch=1&resourceVersion={from}")).unwrap();
        let filter = Filter::new(Some("shop"), &options);
        let others: Vec<Option<Viewer>> = others.iter().map(|name| name.map(viewer_for)).collect();
        let started = Watch::start(&index, filter, &options, viewer_for(user), &others);
        started.err().map(|error| error.code)
    };
    for (from, user, others, expected) in [
        (10, "alice", &[][..], None),
        (10, "alice", &[Some("alice")], None),
        (10, "alice", &[Some("bob")], Some(410)),
        (10, "alice", &[Some("alice"), Some("*")], Some(410)),
        (10, "alice", &[None], Some(410)),
        // Neither viewer sees any tracker.
        (12, "dave", &[Some("erin")], None),
        // A tracker created and deleted since is visible to one of them only.
        (10, "carol", &[Some("erin")], Some(410)),
        (12, "carol", &[Some("erin")], None),
        // The version is ahead of this replica, so changes up to it are unknown.
        (99, "alice", &[], None),
        (99, "alice", &[Some("alice")], None),
        (99, "alice", &[Some("bob")], Some(410)),
        (99, "dave", &[Some("erin")], Some(410)),
    ] {
        assert_eq!(start(from, user, others), expected, "{from} {user} {others:?}");
    }
}

#[test]
fn new_viewer_ends_watch_that_is_ahead_of_replica() {
    let mut index = index();
    let mut watch = watch(&index, "resourceVersion=12", "alice").unwrap();
    assert_eq!(watch.set_viewer(&index, viewer_for("alice")), Ok(()));
    let result = watch.set_viewer(&index, viewer_for("bob"));
    assert_eq!(result.map_err(|error| error.code), Err(410));
    // Once the replica has caught up, the watch resyncs.
    index.apply(owned_session("c", "alice").tracker(11));
    index.advance(12);
    let mut watch = self::watch(&index, "resourceVersion=12", "alice").unwrap();
    watch.set_viewer(&index, viewer_for("bob")).unwrap();
    assert_eq!(events(&mut watch, &index), ["DELETED a 5", "ADDED b 7 key", "DELETED c 11"]);
}

#[test]
fn table_events_define_columns_once() {
    let index = index();
    let mut watch = watch(&index, "", "*").unwrap();
    let tables = raw_events(&mut watch, &index, Representation::Table(MetaVersion::V1));
    assert!(tables[0]["object"]["columnDefinitions"].is_array());
    assert!(tables[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(tables[1]["object"]["rows"][0]["cells"][0], "b");
    assert_eq!(tables[1]["object"]["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[path = "watch_model_tests.rs"]
mod model;
