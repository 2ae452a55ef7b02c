//! Concurrent writes of the auditor role by other clients and by two leaders: no update is lost.

use super::{api_proxy::ApiProxy, role_recorder::RoleRecorder, *};

/// Starts a replica whose writes of the role the proxy holds.
async fn start_behind_proxy(fixture: &Fixture, args: &[&str]) -> (ApiProxy, Webhook) {
    let proxy = ApiProxy::start(&fixture.cluster).await;
    let (plane, programs) = (&fixture.cluster.plane, &fixture.cluster.programs);
    let webhook =
        Webhook::start_with_kubeconfig(plane, programs, proxy.kubeconfig(), args).await.unwrap();
    (proxy, webhook)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replans_after_concurrent_change() {
    let fixture = Fixture::start().await;

    // An administrator modifies the rules, and the change is preserved.
    fixture.reset_role_to_version(1).await;
    let (proxy, webhook) = start_behind_proxy(&fixture, &[]).await;
    proxy.wait_for_writes(1).await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    let patch = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    fixture.patch_role("json", &patch).await;
    let modified = fixture.role().await;
    proxy.release_write();
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("managed by kubectl-patch"), "{outcome}");
    assert_eq!(proxy.status_codes(), [409]);
    assert_eq!(fixture.role().await, modified);
    assert_eq!(recorder.stop().await, [("modified", 1)]);
    assert!(webhook.terminate().unwrap().success());

    // A label changes: the role is upgraded once, and the label is preserved.
    fixture.reset_role_to_version(1).await;
    let (proxy, webhook) = start_behind_proxy(&fixture, &[]).await;
    proxy.wait_for_writes(1).await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    fixture.patch_role("merge", &json!({ "metadata": { "labels": { "team": "a" } } })).await;
    proxy.release_write();
    proxy.wait_for_writes(2).await;
    proxy.release_write();
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("outcome=\"upgraded\""), "{outcome}");
    assert_eq!(proxy.status_codes(), [409, 200]);
    let role = fixture.role().await.unwrap();
    assert_eq!((&role["rules"], &role["metadata"]["labels"]["team"]), (&rules(2), &json!("a")));
    let changes = recorder.stop().await;
    assert_eq!(changes, [("modified", 1), ("modified", 2)]);
    assert!(webhook.terminate().unwrap().success());

    // The role is deleted: the webhook creates a new role instead of updating the deleted one.
    fixture.reset_role_to_version(1).await;
    let (proxy, webhook) = start_behind_proxy(&fixture, &[]).await;
    proxy.wait_for_writes(1).await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    fixture.delete_role().await;
    proxy.release_write();
    proxy.wait_for_writes(2).await;
    proxy.release_write();
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("outcome=\"created\""), "{outcome}");
    assert_eq!(proxy.status_codes(), [409, 201]);
    assert_eq!(recorder.stop().await, [("deleted", 1), ("added", 2)]);
    assert!(webhook.terminate().unwrap().success());

    // Another client creates the role before the webhook does.
    fixture.delete_role().await;
    let (proxy, webhook) = start_behind_proxy(&fixture, &[]).await;
    proxy.wait_for_writes(1).await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    fixture.apply_role(&["create"], json!({}), &rules(1)).await;
    proxy.release_write();
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("managed by kubectl-create"), "{outcome}");
    assert_eq!(proxy.status_codes(), [409]);
    assert_eq!(recorder.stop().await, [("added", 1)]);
}

/// Creates a namespace with a Lease of its own and the same permissions for the webhook.
async fn create_lease_namespace(fixture: &Fixture) -> &'static str {
    let name = "another-lease";
    fixture.admin(&["create", "namespace", name], "").await;
    let role = ["get", "role", MANAGER, "-n", "mirrord-sessions", "-o", "json"];
    let role: Value = serde_json::from_str(&fixture.admin(&role, "").await).unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": MANAGER, "namespace": name }, "rules": role["rules"],
    });
    fixture.admin(&["create", "-f", "-"], &role.to_string()).await;
    let (role, subject) =
        (format!("--role={MANAGER}"), format!("--serviceaccount=mirrord-sessions:{MANAGER}"));
    fixture.admin(&["create", "rolebinding", MANAGER, "-n", name, &role, &subject], "").await;
    let report = ["create", "configmap", "mirrord-sessions-auditor", "-n", name];
    fixture.admin(&report, "").await;
    name
}

/// Writes a serving certificate and returns the flags that select it.
///
/// With a given certificate, the two processes don't both inject their CA into the configuration.
fn certificate_flags(fixture: &Fixture) -> [String; 2] {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = fixture.cluster.plane.folder();
    let (cert, key) = (folder.join("two-lead.crt"), folder.join("two-lead.key"));
    std::fs::write(&cert, certificate.cert.pem()).unwrap();
    std::fs::write(&key, certificate.signing_key.serialize_pem()).unwrap();
    [
        format!("--tls-cert-file={}", cert.display()),
        format!("--tls-private-key-file={}", key.display()),
    ]
}

/// Simulates a leader that lost its Lease without noticing: both leaders read, then write the role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_role_once_with_two_leaders() {
    let fixture = Fixture::start().await;
    let another = format!("--namespace={}", create_lease_namespace(&fixture).await);
    let [cert, key] = certificate_flags(&fixture);
    let cases = [(None, "created", 201, ("added", 2)), (Some(1), "upgraded", 200, ("modified", 2))];
    for (before, outcome, code, change) in cases {
        match before {
            Some(version) => fixture.reset_role_to_version(version).await,
            None => fixture.delete_role().await,
        }
        let recorder = RoleRecorder::start(&fixture.cluster).await;
        let (first_proxy, first) = start_behind_proxy(&fixture, &[&cert, &key]).await;
        let (second_proxy, second) = start_behind_proxy(&fixture, &[&cert, &key, &another]).await;
        first_proxy.wait_for_writes(1).await;
        second_proxy.wait_for_writes(1).await;
        first_proxy.release_write();
        second_proxy.release_write();
        let outcomes =
            [fixture.wait_for_outcome(&first).await, fixture.wait_for_outcome(&second).await];
        let count = |word: &str| {
            let word = format!("outcome=\"{word}\"");
            outcomes.iter().filter(|line| line.contains(&word)).count()
        };
        assert_eq!((count(outcome), count("current")), (1, 1), "{outcomes:?}");
        let mut status_codes = [first_proxy.status_codes(), second_proxy.status_codes()].concat();
        status_codes.sort_unstable();
        assert_eq!(status_codes, [code, 409]);
        assert_eq!(recorder.stop().await, [change]);
        assert_eq!(fixture.role().await.unwrap()["rules"], rules(2));
        for webhook in [first, second] {
            assert!(webhook.terminate().unwrap().success());
        }
    }
}
