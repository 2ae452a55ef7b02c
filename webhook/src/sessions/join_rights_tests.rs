use mirrord_sessions_core::{policy::Policy, sessions::Tracker};
use mirrord_sessions_crds::{Session, SessionSpec};
use serde_json::{Value, json};

use super::*;
use crate::testing::api_server;

/// Says yes to who may join there.
pub(crate) fn allowed(review: &Value, may: bool) -> (u16, Value) {
    let mut review = review.clone();
    review["status"] = json!({ "allowed": may });
    (201, review)
}

/// A store with sessions that have a key, by `namespace/name`.
fn store(names: &[&str]) -> Arc<Store> {
    let trackers = names.iter().map(|path| {
        let (namespace, name) = path.split_once('/').unwrap();
        let spec = SessionSpec { key: Some("k".into()), ..SessionSpec::default() };
        let mut session = Session::new(name, spec);
        session.metadata.namespace = Some(namespace.into());
        session.metadata.uid = Some(name.into());
        session.metadata.resource_version = Some("1".into());
        Arc::new(Tracker::new(&session).unwrap())
    });
    let trackers = trackers.collect();
    let store = Store::new();
    store.update(|index| index.replace(trackers, 10));
    store
}

fn bob() -> Arc<Requester> {
    Arc::new(Requester {
        username: "bob".into(),
        uid: Some("7".into()),
        groups: vec!["devs".into()],
        extra: [("scopes".to_owned(), vec!["a".to_owned()])].into(),
    })
}

fn namespace(review: &Value) -> &str {
    let attributes = &review["spec"]["resourceAttributes"];
    attributes["namespace"].as_str().unwrap_or("*")
}

#[tokio::test]
async fn what_is_asked_of_whom() {
    let no_join = serde_saphyr::from_str("deny: {rules: [{resources: ['*'], verbs: [join]}]}");
    let (no_join, _) = Policy::read("p", &no_join.unwrap());
    let set = |names: &[&str]| JoinRights::In(names.iter().map(|name| (*name).into()).collect());
    for (name, sessions, scope, policy, may, asked, expected) in [
        ("nothing to join", &[][..], None, None, &["*"][..], "", JoinRights::Nowhere),
        ("one namespace", &["a/x", "a/y", "b/x"], Some("a"), None, &["a"], "a", set(&["a"])),
        ("nowhere", &["a/x"], Some("a"), None, &[], "a", JoinRights::Nowhere),
        ("everywhere", &["a/x", "b/x"], None, None, &["*"], "*", JoinRights::Everywhere),
        ("some", &["a/x", "b/x", "c/x"], None, None, &["a", "c"], "* a b c", set(&["a", "c"])),
        ("no policy lets", &["a/x"], None, Some(&no_join), &["*", "a"], "", JoinRights::Nowhere),
    ] {
        let (client, seen) =
            api_server(move |_, review| allowed(review, may.contains(&namespace(review))));
        let rights = Rights::new(client);
        let policies = PolicySet::new("", policy.cloned());
        let found = rights.of(&bob(), &policies, &store(sessions), scope).await;
        assert_eq!(found.joins, expected, "{name}");
        let seen = seen.lock().unwrap();
        let mut told: Vec<&str> = seen.iter().map(|(_, review)| namespace(review)).collect();
        told.sort_unstable();
        assert_eq!(told.join(" "), asked, "{name}");
        for (what, review) in &*seen {
            assert_eq!(what, "POST /apis/authorization.k8s.io/v1/subjectaccessreviews?");
            let spec = &review["spec"];
            assert_eq!(
                (&spec["user"], &spec["uid"], &spec["groups"], &spec["extra"]),
                (&json!("bob"), &json!("7"), &json!(["devs"]), &json!({ "scopes": ["a"] }))
            );
            let attributes = &spec["resourceAttributes"];
            assert_eq!(attributes["verb"], "create");
            assert_eq!(attributes["group"], "visibility.operator.metalbear.co");
            assert_eq!(attributes["resource"], "sessiontrackers");
            assert_eq!(attributes["subresource"], "join");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_shared_and_forgotten() {
    let (client, seen) = api_server(|_, review| allowed(review, true));
    let rights = Rights::new(client);
    let bob = bob();
    let asked = || seen.lock().unwrap().len();
    let (one, two) = tokio::join!(rights.may(&bob, Some("a")), rights.may(&bob, Some("a")));
    assert!(one && two);
    assert_eq!(asked(), 1, "together");
    // Another of the same name, in other groups, is another.
    let other = Requester { groups: Vec::new(), ..(*bob).clone() };
    rights.may(&Arc::new(other), Some("a")).await;
    assert_eq!(asked(), 2);
    tokio::time::advance(REMEMBERED / 2).await;
    rights.may(&bob, Some("a")).await;
    assert_eq!(asked(), 2, "remembered");
    tokio::time::advance(REMEMBERED).await;
    rights.may(&bob, Some("a")).await;
    assert_eq!(asked(), 3, "forgotten");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_a_no() {
    let down = |_: &str, _: &Value| {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "down" });
        (500, status)
    };
    let (client, seen) = api_server(down);
    let rights = Rights::new(client);
    assert!(!rights.may(&bob(), None).await);
    assert!(!rights.may(&bob(), None).await);
    let asked = seen.lock().unwrap().len();
    tokio::time::advance(FAILED * 2).await;
    assert!(!rights.may(&bob(), None).await);
    assert!(seen.lock().unwrap().len() > asked, "asked again soon");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut known = Known::default();
    for n in 0..100 {
        let who = Requester {
            username: format!("u{n}"),
            groups: vec!["g".repeat(1 << 20)],
            ..Requester::default()
        };
        known.about(&Question { who: Arc::new(who), namespace: None });
        assert!(known.size <= BUDGET && known.answers.len() < 9);
        assert_eq!(known.answers.len(), known.order.len());
    }
    // The latest are those that are left.
    let left: Vec<&str> = known.order.values().map(|q| &*q.who.username).collect();
    assert_eq!(left, ["u93", "u94", "u95", "u96", "u97", "u98", "u99"]);
}
