//! The role changes between reading and writing, and two lead at once: one write, and nobody's
//! lost.

use super::{between::Between, recorder::Recorder, *};

/// A process whose writes of the role are held.
async fn held(stage: &Stage, args: &[&str]) -> (Between, Webhook) {
    let between = Between::stand(&stage.cluster).await;
    let (plane, programs) = (&stage.cluster.plane, &stage.cluster.programs);
    let webhook = Webhook::start_at(plane, programs, between.kubeconfig(), args).await.unwrap();
    (between, webhook)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_in_between_is_read_and_planned_again() {
    let stage = Stage::set().await;

    // Modified by an administrator, whose change stays.
    stage.reset(1).await;
    let (between, webhook) = held(&stage, &[]).await;
    between.arrived(1).await;
    let recorder = Recorder::start(&stage.cluster).await;
    let more = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    stage.patch_role("json", &more).await;
    let modified = stage.role().await;
    between.let_go();
    let told = stage.told(&webhook).await;
    assert!(told.contains("managed by kubectl-patch"), "{told}");
    assert_eq!(between.answers(), [409]);
    assert_eq!(stage.role().await, modified);
    assert_eq!(recorder.stop().await, [("modified", 1)]);
    assert!(webhook.terminate().unwrap().success());

    // Changed in what isn't granted: appended to, once, and the change stays.
    stage.reset(1).await;
    let (between, webhook) = held(&stage, &[]).await;
    between.arrived(1).await;
    let recorder = Recorder::start(&stage.cluster).await;
    stage.patch_role("merge", &json!({ "metadata": { "labels": { "team": "a" } } })).await;
    between.let_go();
    between.arrived(2).await;
    between.let_go();
    let told = stage.told(&webhook).await;
    assert!(told.contains("outcome=\"upgraded\""), "{told}");
    assert_eq!(between.answers(), [409, 200]);
    let role = stage.role().await.unwrap();
    assert_eq!((&role["rules"], &role["metadata"]["labels"]["team"]), (&rules(2), &json!("a")));
    let seen = recorder.stop().await;
    assert_eq!(seen, [("modified", 1), ("modified", 2)]);
    assert!(webhook.terminate().unwrap().success());

    // Deleted: what is made is new, not the old one revived.
    stage.reset(1).await;
    let (between, webhook) = held(&stage, &[]).await;
    between.arrived(1).await;
    let recorder = Recorder::start(&stage.cluster).await;
    stage.delete_role().await;
    between.let_go();
    between.arrived(2).await;
    between.let_go();
    let told = stage.told(&webhook).await;
    assert!(told.contains("outcome=\"created\""), "{told}");
    assert_eq!(between.answers(), [409, 201]);
    assert_eq!(recorder.stop().await, [("deleted", 1), ("added", 2)]);
    assert!(webhook.terminate().unwrap().success());

    // Made by somebody else, when it was to be created.
    stage.delete_role().await;
    let (between, webhook) = held(&stage, &[]).await;
    between.arrived(1).await;
    let recorder = Recorder::start(&stage.cluster).await;
    stage.apply(&["create"], json!({}), &rules(1)).await;
    between.let_go();
    let told = stage.told(&webhook).await;
    assert!(told.contains("managed by kubectl-create"), "{told}");
    assert_eq!(between.answers(), [409]);
    assert_eq!(recorder.stop().await, [("added", 1)]);
}

/// A namespace whose Lease is another, with the rights that the process has in its own.
async fn another_lease(stage: &Stage) -> &'static str {
    let name = "another-lease";
    stage.admin(&["create", "namespace", name], "").await;
    let own = ["get", "role", MANAGER, "-n", "mirrord-sessions", "-o", "json"];
    let own: Value = serde_json::from_str(&stage.admin(&own, "").await).unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": MANAGER, "namespace": name }, "rules": own["rules"],
    });
    stage.admin(&["create", "-f", "-"], &role.to_string()).await;
    let (of, to) =
        (format!("--role={MANAGER}"), format!("--serviceaccount=mirrord-sessions:{MANAGER}"));
    stage.admin(&["create", "rolebinding", MANAGER, "-n", name, &of, &to], "").await;
    let report = ["create", "configmap", "mirrord-sessions-auditor", "-n", name];
    stage.admin(&report, "").await;
    name
}

/// A certificate of one's own, so that two processes don't both put their CA into the
/// configuration.
fn certificate(stage: &Stage) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = stage.cluster.plane.folder();
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
async fn of_two_that_lead_one_writes() {
    let stage = Stage::set().await;
    let another = format!("--namespace={}", another_lease(&stage).await);
    let [cert, key] = certificate(&stage);
    let cases = [(None, "created", 201, ("added", 2)), (Some(1), "upgraded", 200, ("modified", 2))];
    for (before, outcome, code, change) in cases {
        match before {
            Some(version) => stage.reset(version).await,
            None => stage.delete_role().await,
        }
        let recorder = Recorder::start(&stage.cluster).await;
        let (one, first) = held(&stage, &[&cert, &key]).await;
        let (two, second) = held(&stage, &[&cert, &key, &another]).await;
        one.arrived(1).await;
        two.arrived(1).await;
        one.let_go();
        two.let_go();
        let told = [stage.told(&first).await, stage.told(&second).await];
        let of = |word: &str| {
            let word = format!("outcome=\"{word}\"");
            told.iter().filter(|line| line.contains(&word)).count()
        };
        assert_eq!((of(outcome), of("current")), (1, 1), "{told:?}");
        let mut answers = [one.answers(), two.answers()].concat();
        answers.sort_unstable();
        assert_eq!(answers, [code, 409]);
        assert_eq!(recorder.stop().await, [change]);
        assert_eq!(stage.role().await.unwrap()["rules"], rules(2));
        for webhook in [first, second] {
            assert!(webhook.terminate().unwrap().success());
        }
    }
}
