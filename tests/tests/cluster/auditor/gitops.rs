//! Auditor roles that a GitOps repository manages, which the webhook must not write.

use super::{role_recorder::RoleRecorder, *};

const OVERLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/gitops");

/// Applies the RBAC objects and ConfigMaps of the overlay as Argo CD and Flux do, with conflicts
/// forced.
async fn sync(fixture: &Fixture) {
    let yaml = fixture.admin(&["kustomize", OVERLAY], "").await;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    // The webhook configurations and the APIService must keep pointing at the test process.
    let items: Vec<Value> = objects
        .into_iter()
        .filter(|object| {
            ["ClusterRole", "ClusterRoleBinding", "Role", "ConfigMap"]
                .iter()
                .any(|kind| object["kind"] == *kind)
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=argocd-controller",
        "-f",
        "-",
    ];
    fixture.admin(&apply, &list.to_string()).await;
}

/// Deletes the objects that the overlay removes from the base.
async fn prune(fixture: &Fixture) {
    let name = "mirrord-sessions-webhook-auditor";
    let prune = ["delete", "clusterrole,clusterrolebinding", name];
    fixture.admin(&prune, "").await;
}

/// Waits for one of two replicas to lead, and returns the leader followed by the standby.
async fn leader_and_standby<'a>(one: &'a Webhook, two: &'a Webhook) -> (&'a Webhook, &'a Webhook) {
    eventually("a replica leads", || async {
        match (is_leader(one), is_leader(two)) {
            (true, _) => Some((one, two)),
            (_, true) => Some((two, one)),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn leaves_role_to_gitops_after_takeover() {
    let fixture = Fixture::start().await;
    let old = ["--auditor-preset-version=1"];
    let (a, b) = (fixture.start_webhook(&old).await, fixture.start_webhook(&old).await);
    let (first, second) = leader_and_standby(&a, &b).await;
    assert!(fixture.wait_for_outcome(first).await.contains("outcome=\"created\""));

    let recorder = RoleRecorder::start(&fixture.cluster).await;
    sync(&fixture).await;
    // The next leader of the old release may still write the role.
    assert!(first.terminate().unwrap().success());
    let outcome = fixture.wait_for_outcome(second).await;
    assert!(outcome.contains("managed by argocd-controller"), "{outcome}");
    prune(&fixture).await;
    // Replicas of the new release run with `--auditor-role=report`.
    let new = ["--auditor-role=report"];
    let (c, d) = (fixture.start_webhook(&new).await, fixture.start_webhook(&new).await);
    assert!(second.terminate().unwrap().success());
    let (third, _) = leader_and_standby(&c, &d).await;
    let outcome = fixture.wait_for_outcome(third).await;
    assert!(outcome.contains("outcome=\"current\""), "{outcome}");
    // A periodic sync finds no drift.
    sync(&fixture).await;
    assert_eq!(recorder.stop().await, [("modified", 2)]);
}

#[tokio::test]
async fn writes_nothing_with_auditor_role_report() {
    let fixture = Fixture::start().await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    let report = ["--auditor-role=report"];
    let (a, b) = (fixture.start_webhook(&report).await, fixture.start_webhook(&report).await);
    // The repository has not applied the role yet.
    let (first, second) = leader_and_standby(&a, &b).await;
    let outcome = fixture.wait_for_outcome(first).await;
    assert!(
        outcome.contains("outcome=\"preserved\"")
            && outcome.contains("--auditor-role=report writes nothing"),
        "{outcome}"
    );
    eventually("an Event AuditorRolePreserved is recorded", || async {
        let reasons = fixture.event_reasons().await;
        reasons.contains(&"AuditorRolePreserved".to_owned()).then_some(())
    })
    .await;
    assert_eq!(fixture.role().await, None);

    // The repository holds an older version than this release ships.
    let argo = &["apply", "--server-side", "--field-manager=argocd-controller"];
    fixture.apply_role(argo, json!({}), &rules(1)).await;
    assert!(first.terminate().unwrap().success());
    let outcome = fixture.wait_for_outcome(second).await;
    assert!(
        outcome.contains("outcome=\"preserved\"") && outcome.contains("sessiontrackers"),
        "{outcome}"
    );
    assert!(second.terminate().unwrap().success());
    assert_eq!(recorder.stop().await, [("added", 1)]);
}

/// Renders the overlay and dry-runs it against a cluster that runs the base.
#[tokio::test]
async fn gitops_overlay_ships_role_and_revokes_write_access() {
    let cluster = shared();
    let yaml = cluster.admin(&["kustomize", OVERLAY], "").await.unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let find = |kind: &str, name: &str| {
        let mut found = objects.iter();
        found.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    assert_eq!(find("ClusterRole", ROLE).unwrap()["rules"], rules(2));
    let deployment = find("Deployment", MANAGER).unwrap();
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap();
    assert_eq!(args.last(), Some(&json!("--auditor-role=report")));
    assert!(args.contains(&json!("--log-format=json")), "{args:?}");
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert_eq!(find(kind, "mirrord-sessions-webhook-auditor"), None);
    }
    let dry_run = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    cluster.admin(&dry_run, &yaml).await.unwrap();
}
