use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    apiserver::{
        accept::{MetaVersion, Shape},
        options::Include,
    },
    policy::{
        JoinRights,
        fixtures::{policies, requester},
    },
    sessions::fixtures::{Fixture, session},
};

/// Sees their own sessions; `*` all of them, and no secrets.
fn of(owner: &str) -> Viewer {
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

fn s(name: &str, owner: &str) -> Fixture {
    session("shop", name).owned_by(owner).key("s3cret")
}

fn index() -> Index {
    let mut index = Index::default();
    index.replace(vec![s("a", "alice").tracker(5), s("b", "bob").tracker(7)], 10);
    index
}

fn key(name: &str) -> crate::sessions::Key {
    crate::sessions::Key { namespace: "shop".into(), name: name.into() }
}

fn watch(index: &Index, query: &str, owner: &'static str) -> Result<Watch, Failure> {
    let options = ListOptions::parse(&format!("watch=1&{query}")).unwrap();
    Watch::start(index, Filter::new(Some("shop"), &options), &options, of(owner), &[])
}

fn events(watch: &mut Watch, index: &Index) -> Vec<String> {
    told(watch, index, Shape::Object)
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

fn told(watch: &mut Watch, index: &Index, shape: Shape) -> Vec<Value> {
    let look = Look { shape, include: Include::Metadata, now: 0 };
    let mut events = Events::new(look);
    loop {
        match watch.step(index, &mut events, usize::MAX) {
            Step::More => {}
            Step::Idle => break,
            Step::Gone(failure) => {
                events.error(&failure);
                break;
            }
        }
    }
    let lines = String::from_utf8(events.bytes).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn how_a_watch_starts() {
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
fn changes_are_told_to_who_sees_them() {
    let mut index = index();
    let mut alice = watch(&index, "resourceVersion=10", "alice").unwrap();
    let mut labelled = watch(&index, "resourceVersion=10&labelSelector=x", "*").unwrap();
    index.apply(s("c", "alice").tracker(11));
    index.apply(s("d", "bob").tracker(12));
    index.apply(s("a", "alice").label("x", "y").tracker(13));
    index.apply(s("a", "alice").tracker(14));
    index.remove(&key("b"), 15);
    index.remove(&key("c"), 16);
    assert_eq!(
        events(&mut alice, &index),
        ["ADDED c 11 key", "MODIFIED a 13 key", "MODIFIED a 14 key", "DELETED c 16 key"]
    );
    assert_eq!(events(&mut labelled, &index), ["ADDED a 13", "DELETED a 14"]);
    assert_eq!(labelled.bookmark(), Some(16));
}

#[test]
fn another_visibility_hides_and_shows() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5 key"]);
    index.apply(s("c", "bob").tracker(11));
    watch.decide_anew(&index, of("bob")).unwrap();
    assert_eq!(
        events(&mut watch, &index),
        // At no version that is newer than what all of it was told at.
        ["DELETED a 5", "ADDED b 7 key", "ADDED c 10 key"]
    );
    watch.decide_anew(&index, of("*")).unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5", "MODIFIED b 7", "MODIFIED c 11"]);
    watch.decide_anew(&index, of("*")).unwrap();
    assert!(events(&mut watch, &index).is_empty());
}

#[test]
fn events_that_wait_show_nothing_that_is_hidden_by_now() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    assert_eq!(events(&mut watch, &index), ["ADDED a 5 key"]);
    // Unread: one that comes, changes and stays, one that comes and goes, and a change of what is
    // known.
    index.apply(s("c", "alice").tracker(11));
    index.apply(s("c", "alice").target("pod/secret").tracker(12));
    index.apply(s("d", "alice").tracker(13));
    index.remove(&key("d"), 14);
    index.apply(s("a", "alice").target("pod/secret").tracker(15));
    watch.decide_anew(&index, of("bob")).unwrap();
    let told = told(&mut watch, &index, Shape::Object);
    let told: Vec<String> = told.iter().map(Value::to_string).collect();
    assert!(!told.iter().any(|event| event.contains("pod/secret")), "{told:?}");
    let events: Vec<&str> = told
        .iter()
        .map(|event| if event.contains("ADDED") { "ADDED" } else { "DELETED" })
        .collect();
    assert_eq!(events, ["DELETED", "ADDED"], "{told:?}");
}

#[test]
fn events_that_wait_show_no_secret_that_was_taken_away() {
    let mut index = index();
    let mut watch = watch(&index, "", "alice").unwrap();
    index.apply(s("c", "alice").tracker(11));
    watch.decide_anew(&index, of("*")).unwrap();
    for event in events(&mut watch, &index) {
        assert!(!event.contains("key"), "{event}");
    }
}

#[test]
fn who_is_too_slow_starts_again() {
    let mut index = index();
    let mut watch = watch(&index, "resourceVersion=10", "*").unwrap();
    for version in 11..=11 + crate::sessions::index::HISTORY as u64 {
        index.apply(s("a", "alice").tracker(version));
    }
    assert_eq!(events(&mut watch, &index), ["ERROR - -"]);
}

#[test]
fn an_event_stops_at_the_limit() {
    let index = index();
    let mut watch = watch(&index, "", "*").unwrap();
    let look = Look { shape: Shape::Object, include: Include::Metadata, now: 0 };
    let mut events = Events::new(look);
    assert_eq!(watch.step(&index, &mut events, 1), Step::More);
    let lines = String::from_utf8(events.bytes).unwrap();
    assert_eq!(lines.lines().count(), 1);
    assert_eq!(watch.bookmark(), None);
}

#[test]
fn what_is_there_at_the_start_is_told_as_it_was_then() {
    let mut index = index();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = watch(&index, query, "*").unwrap();
    let mut out = Events::new(Look { shape: Shape::Object, include: Include::Metadata, now: 0 });
    assert_eq!(watch.step(&index, &mut out, 1), Step::More);
    index.apply(s("a", "alice").tracker(11));
    index.apply(s("b", "bob").tracker(12));
    index.apply(s("c", "bob").tracker(13));
    assert_eq!(
        events(&mut watch, &index),
        ["ADDED b 7", "BOOKMARK - 10", "MODIFIED a 11", "MODIFIED b 12", "ADDED c 13"]
    );
}

#[test]
fn who_goes_on_where_others_decided_lists_anew() {
    let mut index = index();
    index.apply(s("c", "carol").tracker(11));
    index.remove(&key("c"), 12);
    let start = |from: u64, who: &str, told_by: &[Option<&str>]| {
        let options = ListOptions::parse(&format!("watch=1&resourceVersion={from}")).unwrap();
        let filter = Filter::new(Some("shop"), &options);
        let told_by: Vec<Option<Viewer>> = told_by.iter().map(|name| name.map(of)).collect();
        let started = Watch::start(&index, filter, &options, of(who), &told_by);
        started.err().map(|failure| failure.code)
    };
    for (from, who, told_by, expected) in [
        (10, "alice", &[][..], None),
        (10, "alice", &[Some("alice")], None),
        (10, "alice", &[Some("bob")], Some(410)),
        (10, "alice", &[Some("alice"), Some("*")], Some(410)),
        (10, "alice", &[None], Some(410)),
        // Whoever decides, they see none of it.
        (12, "dave", &[Some("erin")], None),
        // What came and went in between tells them apart, until it has.
        (10, "carol", &[Some("erin")], Some(410)),
        (12, "carol", &[Some("erin")], None),
        // Ahead of this replica: what came until then isn't known.
        (99, "alice", &[], None),
        (99, "alice", &[Some("alice")], None),
        (99, "alice", &[Some("bob")], Some(410)),
        (99, "dave", &[Some("erin")], Some(410)),
    ] {
        assert_eq!(start(from, who, told_by), expected, "{from} {who} {told_by:?}");
    }
}

#[test]
fn who_is_ahead_of_this_replica_lists_anew_when_others_decide() {
    let mut index = index();
    let mut watch = watch(&index, "resourceVersion=12", "alice").unwrap();
    assert_eq!(watch.decide_anew(&index, of("alice")), Ok(()));
    let ahead = watch.decide_anew(&index, of("bob"));
    assert_eq!(ahead.map_err(|failure| failure.code), Err(410));
    // When it is known what the client may hold, that is told.
    index.apply(s("c", "alice").tracker(11));
    index.advance(12);
    let mut watch = self::watch(&index, "resourceVersion=12", "alice").unwrap();
    watch.decide_anew(&index, of("bob")).unwrap();
    assert_eq!(events(&mut watch, &index), ["DELETED a 5", "ADDED b 7 key", "DELETED c 11"]);
}

#[test]
fn a_table_names_its_columns_once() {
    let index = index();
    let mut watch = watch(&index, "", "*").unwrap();
    let tables = told(&mut watch, &index, Shape::Table(MetaVersion::V1));
    assert!(tables[0]["object"]["columnDefinitions"].is_array());
    assert!(tables[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(tables[1]["object"]["rows"][0]["cells"][0], "b");
    assert_eq!(tables[1]["object"]["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[path = "watch_model_tests.rs"]
mod model;
