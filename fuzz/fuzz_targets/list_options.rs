//! Fuzzes queries of lists and watches, with selectors, continue tokens and `Accept` headers.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_core::{
    apiserver::{
        content_negotiation::{self, Representation, ResponseKind},
        continue_token,
        filter::Filter,
        list,
        options::{self, IncludeObject, ListOptions},
        render::{self, RenderOptions},
        watch::{StepOutcome, Watch},
        watch_events::EventBuffer,
    },
    identity::Requester,
    policy::{JoinRights, PolicySet},
    sessions::{Index, Tracker},
};
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

// The first line is the query, the rest is the `Accept` header.
fuzz_target!(|input: &str| {
    let (query, header) = input.split_once('\n').unwrap_or((input, ""));
    for kind in [ResponseKind::Object, ResponseKind::List, ResponseKind::Watch] {
        let _ = content_negotiation::negotiate(Some(header), kind);
    }
    let _ = content_negotiation::negotiate_discovery(Some(header));
    let _ = (options::parse_get(query), options::parse_create(query));
    let _ = continue_token::decode(query, 0);
    let parsed = match ListOptions::parse(query) {
        Ok(options) => options,
        Err(error) => {
            assert!((400..500).contains(&error.code));
            assert!(!error.status()["message"].as_str().unwrap().contains('\u{1b}'));
            return;
        }
    };
    let filter = Filter::new(None, &parsed);
    let viewer = PolicySet::default().viewer(&Requester::default(), JoinRights::Nowhere);
    let representation = Representation::Object;
    let render_options = RenderOptions { representation, include: IncludeObject::Metadata, now: 0 };
    if parsed.watch {
        let Ok(mut watch) = Watch::start(&INDEX, filter, &parsed, viewer, &[]) else {
            return;
        };
        let mut events = EventBuffer::new(render_options);
        let mut sent = Vec::new();
        loop {
            let step = watch.step(&INDEX, &mut events, 100);
            sent.append(&mut events.bytes);
            if step != StepOutcome::More {
                break;
            }
        }
        assert!(!String::from_utf8(sent).unwrap().contains("s3cret"));
        return;
    }
    let Ok(page) = list::list(&INDEX, &filter, &parsed, &viewer) else {
        return;
    };
    let json = render::list(&page, render_options);
    let shown: Value = serde_json::from_slice(&json).unwrap();
    assert!(!shown.to_string().contains("s3cret"));
    assert_eq!(shown["items"].as_array().unwrap().len(), page.items.len());
    assert!(parsed.limit == 0 || page.items.len() <= parsed.limit);
    if let Some(token) = &page.continue_token {
        let id = continue_token::list_id(None, &parsed.selectors);
        assert_eq!(continue_token::decode(token, id).unwrap().version, Some(page.version));
    }
});
