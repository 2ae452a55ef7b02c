use mirrord_sessions_core::{policy::Policy, sessions::Tracker};
use mirrord_sessions_crds::{Session, SessionSpec};
use serde_json::{Value, json};

use super::*;
use crate::testing::api_server;

/// Responds to a SubjectAccessReview.
pub(crate) fn review_response(review: &Value, allowed: bool) -> (u16, Value) {
    let mut review = review.clone();
    review["status"] = json!({ "allowed": allowed });
    (201, review)
}

/// Returns a store that holds a session for each `namespace/name`, each with a key.
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
async fn reviews_only_namespaces_with_hidden_secrets() {
    let no_join = serde_saphyr::from_str("deny: {rules: [{resources: ['*'], verbs: [join]}]}");
    let (no_join, _) = Policy::from_spec("p", &no_join.unwrap());
    let set = |names: &[&str]| JoinRights::In(names.iter().map(|name| (*name).into()).collect());
    for (name, sessions, scope, policy, allowed, reviewed, expected) in [
        ("nothing to join", &[][..], None, None, &["*"][..], "", JoinRights::Nowhere),
        ("one namespace", &["a/x", "a/y", "b/x"], Some("a"), None, &["a"], "a", set(&["a"])),
        ("nowhere", &["a/x"], Some("a"), None, &[], "a", JoinRights::Nowhere),
        ("everywhere", &["a/x", "b/x"], None, None, &["*"], "*", JoinRights::Everywhere),
        ("some", &["a/x", "b/x", "c/x"], None, None, &["a", "c"], "* a b c", set(&["a", "c"])),
        (
            "policies deny join",
            &["a/x"],
            None,
            Some(&no_join),
            &["*", "a"],
            "",
            JoinRights::Nowhere,
        ),
    ] {
        let (client, requests) = api_server(move |_, review| {
            review_response(review, allowed.contains(&namespace(review)))
        });
        let authorizer = JoinAuthorizer::new(client);
        let policies = PolicySet::new("", policy.cloned());
        let found = authorizer.join_rights(&bob(), &policies, &store(sessions), scope).await;
        assert_eq!(found.rights, expected, "{name}");
        let requests = requests.lock().unwrap();
        let mut namespaces: Vec<&str> =
            requests.iter().map(|(_, review)| namespace(review)).collect();
        namespaces.sort_unstable();
        assert_eq!(namespaces.join(" "), reviewed, "{name}");
        for (request, review) in &*requests {
            assert_eq!(request, "POST /apis/authorization.k8s.io/v1/subjectaccessreviews?");
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
async fn shares_and_expires_verdicts() {
    let (client, requests) = api_server(|_, review| review_response(review, true));
    let authorizer = JoinAuthorizer::new(client);
    let bob = bob();
    let reviews = || requests.lock().unwrap().len();
    let (one, two) =
        tokio::join!(authorizer.may_join(&bob, Some("a")), authorizer.may_join(&bob, Some("a")));
    assert!(one && two);
    assert_eq!(reviews(), 1, "concurrent requests share a review");
    // A requester of the same name with other groups has a verdict of its own.
    let other = Requester { groups: Vec::new(), ..(*bob).clone() };
    authorizer.may_join(&Arc::new(other), Some("a")).await;
    assert_eq!(reviews(), 2);
    tokio::time::advance(VERDICT_TTL / 2).await;
    authorizer.may_join(&bob, Some("a")).await;
    assert_eq!(reviews(), 2, "the verdict is cached");
    tokio::time::advance(VERDICT_TTL).await;
    authorizer.may_join(&bob, Some("a")).await;
    assert_eq!(reviews(), 3, "the verdict has expired");
}

#[tokio::test(start_paused = true)]
async fn caches_failed_review_as_denial() {
    let down = |_: &str, _: &Value| {
        let status = json!({ "kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "down" });
        (500, status)
    };
    let (client, requests) = api_server(down);
    let authorizer = JoinAuthorizer::new(client);
    assert!(!authorizer.may_join(&bob(), None).await);
    assert!(!authorizer.may_join(&bob(), None).await);
    let reviews = requests.lock().unwrap().len();
    tokio::time::advance(FAILURE_TTL * 2).await;
    assert!(!authorizer.may_join(&bob(), None).await);
    assert!(requests.lock().unwrap().len() > reviews, "the review is retried soon");
}

#[test]
fn bounds_cache_size() {
    let mut cache = ReviewCache::default();
    for n in 0..100 {
        let requester = Requester {
            username: format!("u{n}"),
            groups: vec!["g".repeat(1 << 20)],
            ..Requester::default()
        };
        cache.get_or_insert(&ReviewKey { requester: Arc::new(requester), namespace: None });
        assert!(cache.size <= CACHE_BUDGET && cache.verdicts.len() < 5);
        assert_eq!(cache.verdicts.len(), cache.by_age.len());
    }
    // The oldest verdicts are evicted.
    let cached: Vec<&str> = cache.by_age.values().map(|key| &*key.requester.username).collect();
    assert_eq!(cached, ["u97", "u98", "u99"]);
}
