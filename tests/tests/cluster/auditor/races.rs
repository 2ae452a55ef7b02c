//! The role changes between reading and writing, and two lead at once: one write, and nobody's
//! lost.

use super::{api_proxy::ApiProxy, role_recorder::RoleRecorder, *};

/// A process whose writes of the role are held.
async fn start_behind_proxy(fixture: &Fixture, args: &[&str]) -> (ApiProxy, Webhook) {
    let proxy = ApiProxy::start(&fixture.cluster).await;
    let (plane, programs) = (&fixture.cluster.plane, &fixture.cluster.programs);
    let webhook = Webhook::start_at(plane, programs, proxy.kubeconfig(), args).await.unwrap();
    (proxy, webhook)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replans_after_concurrent_change() {
    let fixture = Fixture::start().await;

    // Modified by an administrator, whose change stays.
    fixture.reset_role_to_version(1).await;
    let (proxy, webhook) = start_behind_proxy(&fixture, &[]).await;
    proxy.wait_for_writes(1).await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    let more = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    fixture.patch_role("json", &more).await;
    let modified = fixture.role().await;
    proxy.release_write();
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("managed by kubectl-patch"), "{outcome}");
    assert_eq!(proxy.status_codes(), [409]);
    assert_eq!(fixture.role().await, modified);
    assert_eq!(recorder.stop().await, [("modified", 1)]);
    assert!(webhook.terminate().unwrap().success());

    // Changed in what isn't granted: appended to, once, and the change stays.
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
    let seen = recorder.stop().await;
    assert_eq!(seen, [("modified", 1), ("modified", 2)]);
    assert!(webhook.terminate().unwrap().success());

    // Deleted: what is made is new, not the old one revived.
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

    // Made by somebody else, when it was to be created.
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

/// A namespace whose Lease is another, with the rights that the process has in its own.
async fn another_lease(fixture: &Fixture) -> &'static str {
    let name = "another-lease";
    fixture.admin(&["create", "namespace", name], "").await;
    let own = ["get", "role", MANAGER, "-n", "mirrord-sessions", "-o", "json"];
    let own: Value = serde_json::from_str(&fixture.admin(&own, "").await).unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": MANAGER, "namespace": name }, "rules": own["rules"],
    });
    fixture.admin(&["create", "-f", "-"], &role.to_string()).await;
    let (of, to) =
        (format!("--role={MANAGER}"), format!("--serviceaccount=mirrord-sessions:{MANAGER}"));
    fixture.admin(&["create", "rolebinding", MANAGER, "-n", name, &of, &to], "").await;
    let report = ["create", "configmap", "mirrord-sessions-auditor", "-n", name];
    fixture.admin(&report, "").await;
    name
}

/// A certificate of one's own, so that two processes don't both put their CA into the
/// configuration.
fn certificate(fixture: &Fixture) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = fixture.cluster.plane.folder();
    let (cert, key) = (folder.join("two-lead.crt"), folder.join("two-lead.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    [
        format!("--tls-cert-file={}", cert.display()),
        format!("--tls-private-key-file={}", key.display()),
    ]
}

/// As when one lost its Lease and doesn't know yet: both have read the role, and both write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_role_once_with_two_leaders() {
    let fixture = Fixture::start().await;
    let another = format!("--namespace={}", another_lease(&fixture).await);
    let [cert, key] = certificate(&fixture);
    let cases = [(None, "created", 201, ("added", 2)), (Some(1), "upgraded", 200, ("modified", 2))];
    for (before, outcome, code, change) in cases {
        match before {
            Some(version) => fixture.reset_role_to_version(version).await,
            None => fixture.delete_role().await,
        }
        let recorder = RoleRecorder::start(&fixture.cluster).await;
        let (one, first) = start_behind_proxy(&fixture, &[&cert, &key]).await;
        let (two, second) = start_behind_proxy(&fixture, &[&cert, &key, &another]).await;
        one.wait_for_writes(1).await;
        two.wait_for_writes(1).await;
        one.release_write();
        two.release_write();
        let outcomes =
            [fixture.wait_for_outcome(&first).await, fixture.wait_for_outcome(&second).await];
        let of = |word: &str| {
            let word = format!("outcome=\"{word}\"");
            outcomes.iter().filter(|line| line.contains(&word)).count()
        };
        assert_eq!((of(outcome), of("current")), (1, 1), "{outcomes:?}");
        let mut answers = [one.status_codes(), two.status_codes()].concat();
        answers.sort_unstable();
        assert_eq!(answers, [code, 409]);
        assert_eq!(recorder.stop().await, [change]);
        assert_eq!(fixture.role().await.unwrap()["rules"], rules(2));
        for webhook in [first, second] {
            assert!(webhook.terminate().unwrap().success());
        }
    }
}
