//! A repository holds the role, and the process never writes it.

use super::{leaders::leads, recorder::Recorder, *};

const OVERLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/overlays/gitops");

/// What is to be applied as Argo CD and Flux do it: by force, of what this is about.
async fn sync(stage: &Stage) {
    let yaml = stage.admin(&["kustomize", OVERLAY], "").await;
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
    stage.admin(&apply, &list.to_string()).await;
}

/// What the overlay holds no more.
async fn prune(stage: &Stage) {
    let name = "mirrord-sessions-webhook-auditor";
    let prune = ["delete", "clusterrole,clusterrolebinding", name];
    stage.admin(&prune, "").await;
}

/// Who of two leads, and the other.
async fn leader<'a>(one: &'a Webhook, two: &'a Webhook) -> (&'a Webhook, &'a Webhook) {
    eventually("one leads", || async {
        match (leads(one), leads(two)) {
            (true, _) => Some((one, two)),
            (_, true) => Some((two, one)),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn taken_from_an_old_leader_the_role_is_the_repositorys() {
    let stage = Stage::set().await;
    let old = ["--auditor-preset-version=1"];
    let (a, b) = (stage.start(&old).await, stage.start(&old).await);
    let (first, second) = leader(&a, &b).await;
    assert!(stage.told(first).await.contains("outcome=\"created\""));

    let recorder = Recorder::start(&stage.cluster).await;
    sync(&stage).await;
    // The next of the old ones, still with the right to write.
    assert!(first.terminate().unwrap().success());
    let told = stage.told(second).await;
    assert!(told.contains("managed by argocd-controller"), "{told}");
    prune(&stage).await;
    // The new ones, which are told not to write.
    let new = ["--auditor-role=report"];
    let (c, d) = (stage.start(&new).await, stage.start(&new).await);
    assert!(second.terminate().unwrap().success());
    let (third, _) = leader(&c, &d).await;
    let told = stage.told(third).await;
    assert!(told.contains("outcome=\"current\""), "{told}");
    // Once more, as it is done every few minutes: nothing drifts.
    sync(&stage).await;
    assert_eq!(recorder.stop().await, [("modified", 2)]);
}

#[tokio::test]
async fn of_two_replicas_that_are_told_not_to_none_writes() {
    let stage = Stage::set().await;
    let recorder = Recorder::start(&stage.cluster).await;
    let report = ["--auditor-role=report"];
    let (a, b) = (stage.start(&report).await, stage.start(&report).await);
    // Before the repository applied it.
    let (first, second) = leader(&a, &b).await;
    let told = stage.told(first).await;
    assert!(
        told.contains("outcome=\"preserved\"") && told.contains("leaves it to somebody else"),
        "{told}"
    );
    eventually("an Event tells", || async {
        let reasons = stage.reasons().await;
        reasons.contains(&"AuditorRolePreserved".to_owned()).then_some(())
    })
    .await;
    assert_eq!(stage.role().await, None);

    // What the repository has is older than what this release ships.
    let argo = &["apply", "--server-side", "--field-manager=argocd-controller"];
    stage.apply(argo, json!({}), &rules(1)).await;
    assert!(first.terminate().unwrap().success());
    let told = stage.told(second).await;
    assert!(told.contains("outcome=\"preserved\"") && told.contains("sessiontrackers"), "{told}");
    assert!(second.terminate().unwrap().success());
    assert_eq!(recorder.stop().await, [("added", 1)]);
}

/// Everything of the overlay, as it would be applied over the base.
#[tokio::test]
async fn the_overlay_holds_the_role_and_takes_the_right_to_write_it() {
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
