use serde_json::Value;

use super::*;
use crate::{
    apiserver::{
        accept::{MetaVersion, Shape},
        options::Include,
        render::{self, Look},
    },
    identity::Requester,
    policy::{JoinRights, PolicySet},
    sessions::fixtures::session,
};

fn index() -> Index {
    let mut index = Index::default();
    let trackers = [("a", "x", 3), ("a", "y", 4), ("a-b", "x", 5), ("b", "x", 6)];
    let trackers =
        trackers.map(|(namespace, name, version)| session(namespace, name).tracker(version));
    index.replace(trackers.into(), 10);
    index
}

fn list(index: &Index, namespace: Option<&str>, query: &str) -> Result<Page, Failure> {
    let options = ListOptions::parse(query)?;
    let everything = PolicySet::default().viewer(&Requester::default(), JoinRights::Nowhere);
    index.list(&Filter::new(namespace, &options), &options, &everything)
}

fn names(page: &Page) -> String {
    let names = page.items.iter().map(|(tracker, _)| {
        let key = &tracker.key;
        format!("{}/{}@{}", key.namespace, key.name, tracker.version)
    });
    names.collect::<Vec<_>>().join(" ")
}

fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.into(), name: name.into() }
}

#[test]
fn lists_are_in_order() {
    let index = index();
    for (namespace, query, expected) in [
        (None, "", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
        (Some("a"), "", "a/x@3 a/y@4"),
        (Some("nowhere"), "", ""),
        (None, "fieldSelector=metadata.name%3Dx", "a/x@3 a-b/x@5 b/x@6"),
        (None, "resourceVersion=0", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
        (None, "resourceVersion=4", "a/x@3 a/y@4 a-b/x@5 b/x@6"),
    ] {
        let page = list(&index, namespace, query).unwrap();
        assert_eq!(names(&page), expected, "{namespace:?} {query}");
        assert_eq!((page.version, page.next), (10, None));
    }
}

#[test]
fn pages_show_one_state() {
    let mut index = index();
    let first = list(&index, None, "limit=2").unwrap();
    assert_eq!(names(&first), "a/x@3 a/y@4");
    assert_eq!(first.remaining, Some(2));
    index.remove(&key("b", "x"), 11);
    index.apply(session("a", "z").tracker(12));
    index.apply(session("a-b", "x").tracker(13));
    let token = first.next.unwrap();
    let next = list(&index, None, &format!("limit=1&continue={token}")).unwrap();
    assert_eq!((names(&next), next.version), ("a-b/x@5".into(), 10));
    let token = next.next.unwrap();
    let last = list(&index, None, &format!("limit=1&continue={token}")).unwrap();
    assert_eq!((names(&last), last.next), ("b/x@6".into(), None));
    // The newest state, meanwhile.
    assert_eq!(names(&list(&index, None, "").unwrap()), "a/x@3 a/y@4 a/z@12 a-b/x@13");
    let exact = list(&index, None, "resourceVersion=11&resourceVersionMatch=Exact").unwrap();
    assert_eq!(names(&exact), "a/x@3 a/y@4 a-b/x@5");
}

#[test]
fn a_token_is_refused_elsewhere_and_when_it_is_too_old() {
    let mut index = index();
    let token = list(&index, None, "limit=1").unwrap().next.unwrap();
    let query = format!("limit=1&continue={token}");
    assert_eq!(list(&index, Some("a"), &query).unwrap_err().code, 400);
    let selected = format!("{query}&labelSelector=x");
    assert_eq!(list(&index, None, &selected).unwrap_err().code, 400);
    for version in 11..=12 + HISTORY as u64 {
        index.apply(session("a", "y").tracker(version));
    }
    let gone = list(&index, None, &query).unwrap_err();
    assert_eq!(gone.code, 410);
    let status = gone.status();
    assert_eq!(status["reason"], "Expired");
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = list(&index, None, &format!("continue={token}")).unwrap();
    assert_eq!(rest.items.len(), 3);
    let old = list(&index, None, "resourceVersion=10&resourceVersionMatch=Exact");
    assert_eq!(old.unwrap_err().code, 410);
}

#[test]
fn the_future_has_to_be_waited_for() {
    let index = index();
    for query in [
        "resourceVersion=11",
        "resourceVersion=11&resourceVersionMatch=NotOlderThan",
        "resourceVersion=11&resourceVersionMatch=Exact",
    ] {
        let failure = list(&index, None, query).unwrap_err();
        assert_eq!(failure.code, 504, "{query}");
        assert_eq!(failure.status()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
}

#[test]
fn a_new_list_is_told_as_changes() {
    let mut index = index();
    let mut other = session("a", "y").session(15);
    other.metadata.uid = Some("another".into());
    let other = Arc::new(Tracker::new(&other).unwrap());
    index.replace(
        vec![
            session("a", "x").tracker(3),
            session("b", "x").tracker(14),
            other,
            session("c", "x").tracker(12),
        ],
        20,
    );
    let changes: Vec<String> = index
        .changes(index.after(10).unwrap())
        .unwrap()
        .map(|change| {
            let of = |tracker: &Option<Arc<Tracker>>| {
                tracker.as_ref().map_or("-".into(), |tracker| tracker.version.to_string())
            };
            format!(
                "{} {}: {} → {}",
                change.version,
                change.key().unwrap().name,
                of(&change.before),
                of(&change.after)
            )
        })
        .collect();
    assert_eq!(
        changes,
        ["12 x: - → 12", "14 x: 6 → 14", "15 y: 4 → -", "15 y: - → 15", "20 x: 5 → -"]
    );
    assert_eq!(index.version(), 20);
    // What is known already changes nothing.
    index.apply(session("c", "x").tracker(12));
    assert_eq!(index.head(), 5);
}

#[test]
fn every_shape_is_json_of_its_kind() {
    let index = index();
    let page = list(&index, None, "limit=2").unwrap();
    for (shape, include, kind, field) in [
        (Shape::Object, Include::Metadata, "SessionTrackerList", "items"),
        (Shape::Table(MetaVersion::V1), Include::Metadata, "Table", "rows"),
        (Shape::Table(MetaVersion::V1Beta1), Include::Object, "Table", "rows"),
        (Shape::Table(MetaVersion::V1), Include::None, "Table", "rows"),
        (
            Shape::PartialList(MetaVersion::V1),
            Include::Metadata,
            "PartialObjectMetadataList",
            "items",
        ),
    ] {
        let look = Look { shape, include, now: 0 };
        let list: Value = serde_json::from_slice(&render::list(&page, look)).unwrap();
        assert_eq!(list["kind"], kind);
        assert_eq!(list["metadata"]["resourceVersion"], "10");
        assert_eq!(list["metadata"]["remainingItemCount"], 2);
        assert_eq!(list[field].as_array().unwrap().len(), 2);
        let item = &list[field][0];
        match shape {
            Shape::Table(_) => {
                let width = list["columnDefinitions"].as_array().unwrap().len();
                assert_eq!(item["cells"].as_array().unwrap().len(), width);
                assert_eq!(item["cells"][0], "x");
                let object = match include {
                    Include::Metadata => "PartialObjectMetadata".into(),
                    Include::Object => "SessionTracker".into(),
                    Include::None => Value::Null,
                };
                assert_eq!(item["object"]["kind"], object);
            }
            _ => assert_eq!(item["metadata"]["name"], "x"),
        }
    }
}
