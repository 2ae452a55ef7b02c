//! A repository holds the role, and the process never writes it.

use super::{role_recorder::RoleRecorder, *};

const OVERLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/gitops");

/// What is to be applied as Argo CD and Flux do it: by force, of what this is about.
async fn sync(fixture: &Fixture) {
    let yaml = fixture.admin(&["kustomize", OVERLAY], "").await;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    // What leads to the process stays as the control plane has it.
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

/// What the overlay holds no more.
async fn prune(fixture: &Fixture) {
    let name = "mirrord-sessions-webhook-auditor";
    let prune = ["delete", "clusterrole,clusterrolebinding", name];
    fixture.admin(&prune, "").await;
}

/// Who of two leads, and the other.
async fn leader<'a>(one: &'a Webhook, two: &'a Webhook) -> (&'a Webhook, &'a Webhook) {
    eventually("one leads", || async {
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
    let (first, second) = leader(&a, &b).await;
    assert!(fixture.wait_for_outcome(first).await.contains("outcome=\"created\""));

    let recorder = RoleRecorder::start(&fixture.cluster).await;
    sync(&fixture).await;
    // The next of the old ones, still with the right to write.
    assert!(first.terminate().unwrap().success());
    let outcome = fixture.wait_for_outcome(second).await;
    assert!(outcome.contains("managed by argocd-controller"), "{outcome}");
    prune(&fixture).await;
    // The new ones, which are told not to write.
    let new = ["--auditor-role=report"];
    let (c, d) = (fixture.start_webhook(&new).await, fixture.start_webhook(&new).await);
    assert!(second.terminate().unwrap().success());
    let (third, _) = leader(&c, &d).await;
    let outcome = fixture.wait_for_outcome(third).await;
    assert!(outcome.contains("outcome=\"current\""), "{outcome}");
    // Once more, as it is done every few minutes: nothing drifts.
    sync(&fixture).await;
    assert_eq!(recorder.stop().await, [("modified", 2)]);
}

#[tokio::test]
async fn writes_nothing_with_auditor_role_report() {
    let fixture = Fixture::start().await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    let report = ["--auditor-role=report"];
    let (a, b) = (fixture.start_webhook(&report).await, fixture.start_webhook(&report).await);
    // Before the repository applied it.
    let (first, second) = leader(&a, &b).await;
    let outcome = fixture.wait_for_outcome(first).await;
    assert!(
        outcome.contains("outcome=\"preserved\"") && outcome.contains("leaves it to somebody else"),
        "{outcome}"
    );
    eventually("an Event tells", || async {
        let reasons = fixture.event_reasons().await;
        reasons.contains(&"AuditorRolePreserved".to_owned()).then_some(())
    })
    .await;
    assert_eq!(fixture.role().await, None);

    // What the repository has is older than what this release ships.
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

/// Everything of the overlay, as it would be applied over the base.
#[tokio::test]
async fn gitops_overlay_ships_role_and_revokes_write_access() {
    let cluster = shared();
    let yaml = cluster.admin(&["kustomize", OVERLAY], "").await.unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let named = |kind: &str, name: &str| {
        let mut found = objects.iter();
        found.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    assert_eq!(named("ClusterRole", ROLE).unwrap()["rules"], rules(2));
    let deployment = named("Deployment", MANAGER).unwrap();
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap();
    assert_eq!(args.last(), Some(&json!("--auditor-role=report")));
    assert!(args.contains(&json!("--log-format=json")), "{args:?}");
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert_eq!(named(kind, "mirrord-sessions-webhook-auditor"), None);
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
