//! Queries of lists and watches, with selectors and continue tokens, and what clients accept.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_core::{apiserver::{page, accept::{self, Shape, Target}, filter::Filter, options::{self, Include, ListOptions}, render::{self, Look}, watch::{Events, Step, Watch}}, identity::Requester, policy::{JoinRights, PolicySet}, sessions::{Index, Tracker}};
use mirrord_sessions_crds::Session;
use serde_json::{Value, json};

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index::default();
    let trackers = (1_u64..6).map(|n| {
        let session: Session = serde_json::from_value(json!({
            "apiVersion": "operator.metalbear.co/v1",
            "kind": "Session",
            "metadata": {
                "name": format!("s{n}"), "namespace": if n < 4 { "a" } else { "b" },
                "uid": format!("u{n}"), "resourceVersion": n.to_string(),
                "labels": { "app": format!("x{n}"), "even": (n % 2 == 0).to_string() },
            },
            "spec": { "target": "targetless", "key": "s3cret", "owner": { "username": "alice" } },
        }))
        .unwrap();
        Arc::new(Tracker::new(&session).unwrap())
    });
    index.replace(trackers.collect(), 10);
    index
});

// A line is the query, the rest the header.
fuzz_target!(|input: &str| {
    let (query, header) = input.split_once('\n').unwrap_or((input, ""));
    for target in [Target::Object, Target::List, Target::Watch] {
        let _ = accept::negotiate(Some(header), target);
    }
    let _ = accept::negotiate_discovery(Some(header));
    let _ = (options::get(query), options::create(query));
    let _ = page::decode(query, 0);
    let parsed = match ListOptions::parse(query) {
        Ok(options) => options,
        Err(failure) => {
            assert!((400..500).contains(&failure.code));
            assert!(!failure.status()["message"].as_str().unwrap().contains('\u{1b}'));
            return;
        }
    };
    let filter = Filter::new(None, &parsed);
    let viewer = PolicySet::default().viewer(&Requester::default(), JoinRights::Nowhere);
    let shape = Shape::Object;
    let look = Look { shape, include: Include::Metadata, now: 0 };
    if parsed.watch {
        let Ok(mut watch) = Watch::start(&INDEX, filter, &parsed, viewer, &[]) else {
            return;
        };
        let mut events = Events::new(look);
        let mut told = Vec::new();
        loop {
            let step = watch.step(&INDEX, &mut events, 100);
            told.append(&mut events.bytes);
            if step != Step::More {
                break;
            }
        }
        assert!(!String::from_utf8(told).unwrap().contains("s3cret"));
        return;
    }
    let Ok(list) = INDEX.list(&filter, &parsed, &viewer) else {
        return;
    };
    let json = render::list(&list, look);
    let shown: Value = serde_json::from_slice(&json).unwrap();
    assert!(!shown.to_string().contains("s3cret"));
    assert_eq!(shown["items"].as_array().unwrap().len(), list.items.len());
    assert!(parsed.limit == 0 || list.items.len() <= parsed.limit);
    if let Some(next) = &list.next {
        let id = page::list_id(None, &parsed.selectors);
        assert_eq!(page::decode(next, id).unwrap().version, Some(list.version));
    }
});
