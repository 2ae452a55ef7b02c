use serde_json::Value;

use super::*;
use crate::{
    apiserver::{
        content_negotiation::{MetaVersion, Representation},
        options::IncludeObject,
        render::{self, RenderOptions},
    },
    identity::Requester,
    policy::{JoinRights, PolicySet},
    sessions::{
        TrackerKey,
        fixtures::{four_trackers, session},
        index::HISTORY,
    },
};

fn list_page(index: &Index, namespace: Option<&str>, query: &str) -> Result<Page, ApiError> {
    let options = ListOptions::parse(query)?;
    let everything = PolicySet::default().viewer(&Requester::default(), JoinRights::Nowhere);
    super::list(index, &Filter::new(namespace, &options), &options, &everything)
}

fn names(page: &Page) -> String {
    let names = page.items.iter().map(|(tracker, _)| {
        let key = &tracker.key;
        format!("{}/{}@{}", key.namespace, key.name, tracker.version)
    });
    names.collect::<Vec<_>>().join(" ")
}

fn key(namespace: &str, name: &str) -> TrackerKey {
    TrackerKey { namespace: namespace.into(), name: name.into() }
}

#[test]
fn lists_in_order_of_namespace_and_name() {
    let index = four_trackers();
    for (namespace, query, expected) in [
        (None, "", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
        (Some("a"), "", "a/x@3 a/y@4"),
        (Some("nowhere"), "", ""),
        (None, "fieldSelector=metadata.name%3Dx", "a/x@3 a-b/x@5 b/x@6"),
        (None, "resourceVersion=0", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
        (None, "resourceVersion=4", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
    ] {
        let page = list_page(&index, namespace, query).unwrap();
        assert_eq!(names(&page), expected, "{namespace:?} {query}");
        assert_eq!((page.version, page.continue_token), (10, None));
    }
}

#[test]
fn pages_show_one_consistent_state() {
    let mut index = four_trackers();
    let first = list_page(&index, None, "limit=2").unwrap();
    assert_eq!(names(&first), "a/x@3 a/y@4");
    assert_eq!(first.remaining, Some(2));
    index.remove(&key("b", "x"), 11);
    index.apply(session("a", "z").tracker(12));
    index.apply(session("a-b", "x").tracker(13));
    let token = first.continue_token.unwrap();
    let next = list_page(&index, None, &format!("limit=1&continue={token}")).unwrap();
    assert_eq!((names(&next), next.version), ("a-b/x@5".into(), 10));
    let token = next.continue_token.unwrap();
    let last = list_page(&index, None, &format!("limit=1&continue={token}")).unwrap();
    assert_eq!((names(&last), last.continue_token), ("b/x@6".into(), None));
    // A list without a token shows the newest state.
    assert_eq!(names(&list_page(&index, None, "").unwrap()), "a/x@3 a/y@4 a/z@12 a-b/x@13");
    let exact = list_page(&index, None, "resourceVersion=11&resourceVersionMatch=Exact").unwrap();
    assert_eq!(names(&exact), "a/x@3 a/y@4 a-b/x@5");
}

#[test]
fn rejects_continue_token_of_another_list_or_expired_state() {
    let mut index = four_trackers();
    let token = list_page(&index, None, "limit=1").unwrap().continue_token.unwrap();
    let query = format!("limit=1&continue={token}");
    assert_eq!(list_page(&index, Some("a"), &query).unwrap_err().code, 400);
    let selected = format!("{query}&labelSelector=x");
    assert_eq!(list_page(&index, None, &selected).unwrap_err().code, 400);
    for version in 11..=12 + HISTORY as u64 {
        index.apply(session("a", "y").tracker(version));
    }
    let error = list_page(&index, None, &query).unwrap_err();
    assert_eq!(error.code, 410);
    let status = error.status();
    assert_eq!(status["reason"], "Expired");
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = list_page(&index, None, &format!("continue={token}")).unwrap();
    assert_eq!(rest.items.len(), 3);
    let old = list_page(&index, None, "resourceVersion=10&resourceVersionMatch=Exact");
    assert_eq!(old.unwrap_err().code, 410);
}

#[test]
fn returns_504_for_future_version() {
    let index = four_trackers();
    for query in [
        "resourceVersion=11",
        "resourceVersion=11&resourceVersionMatch=NotOlderThan",
        "resourceVersion=11&resourceVersionMatch=Exact",
    ] {
        let error = list_page(&index, None, query).unwrap_err();
        assert_eq!(error.code, 504, "{query}");
        assert_eq!(error.status()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
}

#[test]
fn renders_every_representation_as_json() {
    let index = four_trackers();
    let page = list_page(&index, None, "limit=2").unwrap();
    for (representation, include, kind, field) in [
        (Representation::Object, IncludeObject::Metadata, "SessionTrackerList", "items"),
        (Representation::Table(MetaVersion::V1), IncludeObject::Metadata, "Table", "rows"),
        (Representation::Table(MetaVersion::V1Beta1), IncludeObject::Object, "Table", "rows"),
        (Representation::Table(MetaVersion::V1), IncludeObject::None, "Table", "rows"),
        (
            Representation::PartialList(MetaVersion::V1),
            IncludeObject::Metadata,
            "PartialObjectMetadataList",
            "items",
        ),
    ] {
        let render_options = RenderOptions { representation, include, now: 0 };
        let list: Value = serde_json::from_slice(&render::list(&page, render_options)).unwrap();
        assert_eq!(list["kind"], kind);
        assert_eq!(list["metadata"]["resourceVersion"], "10");
        assert_eq!(list["metadata"]["remainingItemCount"], 2);
        assert_eq!(list[field].as_array().unwrap().len(), 2);
        let item = &list[field][0];
        match representation {
            Representation::Table(_) => {
                let width = list["columnDefinitions"].as_array().unwrap().len();
                assert_eq!(item["cells"].as_array().unwrap().len(), width);
                assert_eq!(item["cells"][0], "x");
                let object = match include {
                    IncludeObject::Metadata => "PartialObjectMetadata".into(),
                    IncludeObject::Object => "SessionTracker".into(),
                    IncludeObject::None => Value::Null,
                };
                assert_eq!(item["object"]["kind"], object);
            }
            _ => assert_eq!(item["metadata"]["name"], "x"),
        }
    }
}
