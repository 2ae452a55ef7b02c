use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use mirrord_sessions_core::{
    policy::{Policy, PolicySet},
    sessions::Tracker,
};
use mirrord_sessions_crds::{Owner, Session, SessionSpec};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use super::*;
use crate::{apiserver::front_proxy::tests::Authority, testing::unreachable_client};

const LIST: &str = "/apis/visibility.operator.metalbear.co/v1/sessiontrackers";
pub(crate) const SHOP: &str =
    "/apis/visibility.operator.metalbear.co/v1/namespaces/shop/sessiontrackers";

/// Returns policies that show users their own sessions, and every session to group `all`.
///
/// User `barred` is forbidden to see any session.
fn own_sessions_only() -> PolicySet {
    let own = serde_saphyr::from_str(
        "
        allow:
          rules:
          - resources: [session_tracker]
            verbs: [list, read]
            where: contains(tracker.participants, user.metadata.name) || contains(user.spec.roles, 'all')
        deny:
          rules:
          - {resources: ['*'], verbs: ['*'], where: user.metadata.name == 'barred'}
        ",
    );
    let (policy, errors) = Policy::from_spec("own", &own.unwrap());
    assert_eq!(errors, []);
    PolicySet::new("", [policy])
}

pub(crate) struct Fixture {
    pub(crate) api: Api,
    pub(crate) store: Arc<Store>,
    pub(crate) peer: PeerCertificates,
}

pub(crate) fn tracker(namespace: &str, name: &str, owner: &str, version: u64) -> Arc<Tracker> {
    let spec = SessionSpec {
        target: "pod/x".into(),
        key: Some("s3cret".into()),
        owner: Some(Owner { username: owner.into(), ..Owner::default() }),
        ..SessionSpec::default()
    };
    let mut session = Session::new(name, spec);
    session.metadata.namespace = Some(namespace.into());
    session.metadata.uid = Some(name.into());
    session.metadata.resource_version = Some(version.to_string());
    Arc::new(Tracker::new(&session).unwrap())
}

/// Returns the API over a store, for an API server with this front proxy CA.
fn api(store: &Arc<Store>, authority: &Authority, client: Client) -> Api {
    let front_proxy = Arc::new(FrontProxy::with_authority(authority));
    let join_authorizer = Arc::new(JoinAuthorizer::new(client.clone()));
    Api::new(Arc::clone(store), front_proxy, join_authorizer, client)
}

/// Returns a fixture that shows every session to every user.
pub(crate) fn fixture_with_client(client: Client) -> Fixture {
    let Fixture { store, .. } = fixture(PolicySet::default());
    let authority = Authority::new();
    Fixture {
        api: api(&store, &authority, client),
        store,
        peer: authority.issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth),
    }
}

fn fixture(policies: PolicySet) -> Fixture {
    let authority = Authority::new();
    let store = Store::new();
    store.set_policies(policies, false);
    store.update(|index| {
        let trackers = vec![
            tracker("shop", "a", "alice", 5),
            tracker("shop", "b", "bob", 6),
            tracker("till", "c", "alice", 7),
        ];
        index.replace(trackers, 10);
    });
    Fixture {
        api: api(&store, &authority, unreachable_client()),
        store,
        peer: authority.issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth),
    }
}

pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn empty_body() -> http_body_util::Empty<Bytes> {
    http_body_util::Empty::new()
}

impl Fixture {
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, Bytes) {
        let response =
            self.api.handle(&head(method, path, headers), empty_body(), Some(&self.peer)).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, body)
    }

    async fn get(&self, user: &str, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path, &[("x-remote-user", user)]).await;
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn returns_401_without_certificate_of_front_proxy() {
    let fixture = fixture(PolicySet::default());
    let stranger =
        Authority::new().issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth);
    for path in [LIST, SHOP, "/apis", "/openapi/v2", "/openapi/v3", "/version", "/apis/x"] {
        for peer in [None, Some(&stranger)] {
            for method in ["GET", "DELETE"] {
                let forged = [("x-remote-user", "alice"), ("x-remote-group", "system:masters")];
                let response =
                    fixture.api.handle(&head(method, path, &forged), empty_body(), peer).await;
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            }
        }
        let (status, ..) = fixture.request("GET", path, &[("x-remote-group", "all")]).await;
        assert_eq!(status, 401, "{path}: no user name");
    }
}

#[tokio::test]
async fn get_list_and_watch_agree_on_visibility() {
    let fixture = fixture(own_sessions_only());
    let keys = [("shop", "a"), ("shop", "b"), ("till", "c")];
    for (user, groups, expected) in [
        ("alice", &[][..], &["a", "c"][..]),
        ("bob", &["system:authenticated"], &["b"]),
        ("carol", &[], &[]),
        ("carol", &["all"], &["a", "b", "c"]),
        ("carol", &["all,x"], &[]),
        ("Zoë@Büro 🦀", &[], &[]),
    ] {
        let mut headers = vec![("x-remote-user", user)];
        headers.extend(groups.iter().map(|group| ("x-remote-group", *group)));
        let (_, _, body) = fixture.request("GET", LIST, &headers).await;
        let list: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(names(&list), expected, "{user} {groups:?}: list");
        for item in list["items"].as_array().unwrap() {
            let is_own = item["spec"]["owner"]["username"] == user;
            assert_eq!(item["spec"]["key"].is_null(), !is_own, "{user}");
        }
        let watch = format!("{LIST}?watch=1&timeoutSeconds=1");
        tokio::time::pause();
        let (_, _, body) = fixture.request("GET", &watch, &headers).await;
        tokio::time::resume();
        let events: Vec<Value> = body
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let names: Vec<&str> = events
            .iter()
            .map(|event| event["object"]["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{user} {groups:?}: watch");
        for (namespace, name) in keys {
            let path = LIST.replace("/v1/", &format!("/v1/namespaces/{namespace}/"));
            let (status, ..) = fixture.request("GET", &format!("{path}/{name}"), &headers).await;
            let code = if expected.contains(&name) { 200 } else { 404 };
            assert_eq!(status, code, "{user} {groups:?}: get {name}");
        }
    }
    for path in [LIST.to_owned(), format!("{SHOP}/a"), format!("{LIST}?watch=1")] {
        let (status, body) = fixture.get("barred", &path).await;
        assert_eq!((status, &body["reason"]), (403, &json!("Forbidden")), "{path}");
    }
}

#[tokio::test]
async fn returns_status_for_invalid_requests() {
    let fixture = fixture(PolicySet::default());
    let tracker_path = format!("{SHOP}/a");
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("POST", SHOP, "", 405, "MethodNotAllowed"),
        ("PUT", &tracker_path, "", 405, "MethodNotAllowed"),
        ("PATCH", &tracker_path, "", 405, "MethodNotAllowed"),
        ("DELETE", &tracker_path, "", 405, "MethodNotAllowed"),
        ("DELETE", SHOP, "", 405, "MethodNotAllowed"),
        ("POST", LIST, "", 405, "MethodNotAllowed"),
        ("GET", "/apis/visibility.operator.metalbear.co/v1/other", "", 404, "NotFound"),
        ("GET", "/apis/visibility.operator.metalbear.co/v2/sessiontrackers", "", 404, "NotFound"),
        ("GET", "/apis/other", "", 404, "NotFound"),
        ("GET", &format!("{tracker_path}/join"), "", 405, "MethodNotAllowed"),
        ("DELETE", &format!("{tracker_path}/report"), "", 405, "MethodNotAllowed"),
        ("POST", &format!("{tracker_path}/other"), "", 404, "NotFound"),
        ("POST", &format!("{tracker_path}/join/x"), "", 404, "NotFound"),
        ("GET", &format!("{SHOP}/none"), "", 404, "NotFound"),
        ("GET", &format!("{SHOP}/a%00"), "", 404, "NotFound"),
        ("GET", LIST, "text/html", 406, "NotAcceptable"),
        ("GET", &format!("{LIST}?watch=1"), "application/yaml", 406, "NotAcceptable"),
        ("GET", &format!("{LIST}?labelSelector=a%20b"), "", 400, "BadRequest"),
        ("GET", &format!("{LIST}?continue=x"), "", 400, "BadRequest"),
        ("GET", &format!("{LIST}?resourceVersion=x"), "", 400, "BadRequest"),
        ("GET", &format!("{LIST}?sendInitialEvents=true"), "", 422, "Invalid"),
    ];
    for (method, path, accept, code, reason) in cases {
        let headers = [("x-remote-user", "alice"), ("accept", *accept)];
        let (status, _, body) = fixture.request(method, path, &headers).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, &body["kind"], &body["reason"], &body["code"]),
            (*code, &json!("Status"), &json!(reason), &json!(code)),
            "{method} {path}: {body}"
        );
    }
    tokio::time::pause();
    for path in [format!("{LIST}?resourceVersion=11"), format!("{tracker_path}?resourceVersion=11")]
    {
        let (status, body) = fixture.get("alice", &path).await;
        assert_eq!((status, &body["reason"]), (504, &json!("Timeout")), "{path}");
    }
}

#[tokio::test]
async fn serves_requested_representation() {
    let fixture = fixture(PolicySet::default());
    let tracker_path = format!("{SHOP}/A");
    for (path, accept, content_type, start) in [
        (LIST, "", "application/json", r#"{"kind":"SessionTrackerList""#),
        (LIST, "application/yaml", "application/yaml", "apiVersion: visibility"),
        (
            LIST,
            "application/json;as=Table;g=meta.k8s.io;v=v1",
            "application/json",
            r#"{"kind":"Table""#,
        ),
        (
            &format!("{SHOP}/a"),
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            "application/json",
            r#"{"kind":"PartialObjectMetadata""#,
        ),
        (&tracker_path, "", "application/json", r#"{"apiVersion":"v1","code":404"#),
        ("/apis", "", "application/json", r#"{"apiVersion":"v1","groups""#),
    ] {
        let headers = [("x-remote-user", "alice"), ("accept", accept)];
        let (_, headers, body) = fixture.request("GET", path, &headers).await;
        assert_eq!(headers[CONTENT_TYPE], content_type, "{path} {accept}");
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.starts_with(start), "{path} {accept}: {body}");
    }
}

#[tokio::test]
async fn compresses_large_responses_on_request() {
    use std::io::Read;
    let fixture = fixture(PolicySet::default());
    fixture.store.update(|index| {
        for version in 11..1000 {
            index.apply(tracker("shop", &format!("s{version}"), "alice", version));
        }
    });
    let uncompressed = fixture.request("GET", LIST, &[("x-remote-user", "alice")]).await;
    assert!(!uncompressed.1.contains_key("content-encoding"));
    let gzip = [("x-remote-user", "alice"), ("accept-encoding", "gzip")];
    let (_, headers, body) = fixture.request("GET", LIST, &gzip).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, uncompressed.2);
    let (_, headers, _) = fixture.request("GET", &format!("{LIST}?limit=3"), &gzip).await;
    assert!(!headers.contains_key("content-encoding"), "a small response is not compressed");
}

#[path = "routes_watch_tests.rs"]
mod watches;
