//! Several replicas: one writes.

use super::{recorder::Recorder, *};

pub(super) fn leads(webhook: &Webhook) -> bool {
    webhook.log_text().contains(" acquired leadership ")
}

#[tokio::test]
async fn of_leaders_that_race_one_writes_and_another_takes_over() {
    let stage = Stage::set().await;
    let (a, b, c) = tokio::join!(stage.start(&[]), stage.start(&[]), stage.start(&[]));
    let replicas = [a, b, c];
    eventually("there is a role", || stage.role()).await;
    let leader = eventually("one leads", || async {
        let leader = replicas.iter().position(leads);
        leader.filter(|leader| replicas[*leader].log_text().contains("outcome="))
    })
    .await;
    let log = replicas[leader].log_text();
    assert!(log.contains("outcome=\"created\""), "{log}");
    assert_eq!(replicas.iter().filter(|replica| leads(replica)).count(), 1);
    let role = stage.role().await;

    // A leader that dies without a word: the next, after the Lease has run out, finds all as it
    // was.
    replicas[leader].kill().unwrap();
    let next = eventually("another leads", || async {
        let others = (0..replicas.len()).filter(|n| *n != leader);
        others.into_iter().find(|n| replicas[*n].log_text().contains("outcome=\"current\""))
    })
    .await;
    assert_eq!(stage.role().await, role);
    // One that ends in order leaves it to the last at once.
    let last = 3 - leader - next;
    assert!(!leads(&replicas[last]));
    assert!(replicas[next].terminate().unwrap().success());
    let told = stage.told(&replicas[last]).await;
    assert!(told.contains("outcome=\"current\""), "{told}");
    let lease = [
        "get",
        "lease",
        MANAGER,
        "-n",
        "mirrord-sessions",
        "-o",
        "jsonpath={.spec.leaseTransitions}",
    ];
    // The installation's own, and these three.
    assert_eq!(stage.admin(&lease, "").await, "4");
}

#[tokio::test]
async fn a_rolling_upgrade_and_a_downgrade_write_once() {
    let stage = Stage::set().await;
    let recorder = Recorder::start(&stage.cluster).await;
    let old = ["--auditor-preset-version=1"];
    let mut old_ones = vec![stage.start(&old).await, stage.start(&old).await];
    eventually("the old release made it", || stage.role()).await;
    // One replica at a time, as a Deployment does it.
    let mut new_ones = Vec::new();
    while let Some(replica) = old_ones.pop() {
        new_ones.push(stage.start(&[]).await);
        replica.terminate().unwrap();
    }
    eventually("the new release upgraded it", || async {
        stage.role().await.filter(|role| role["rules"] == rules(2))
    })
    .await;
    // And back.
    while let Some(replica) = new_ones.pop() {
        old_ones.push(stage.start(&old).await);
        replica.terminate().unwrap();
    }
    let leader = eventually("an old replica leads", || async {
        old_ones.iter().find(|replica| leads(replica))
    })
    .await;
    let told = stage.told(leader).await;
    assert!(told.contains("a later release wrote it"), "{told}");
    assert_eq!(recorder.stop().await, [("added", 1), ("modified", 2)]);
}

/// What the API server makes of the preconditions that the process writes with: no documentation
/// says what becomes of a version on a server-side apply of what isn't there.
#[tokio::test]
async fn preconditions_hold() {
    let cluster = shared();
    let name = "auditor-preconditions";
    let apply = |metadata: Value, rules: Value| async move {
        let mut metadata = metadata;
        metadata["name"] = name.into();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": metadata, "rules": rules,
        });
        let args =
            ["apply", "--server-side", "--field-manager=mirrord-sessions-webhook", "-f", "-"];
        let applied = cluster.admin(&args, &role.to_string()).await;
        applied.map_err(|error| error.to_string())
    };
    let refused = |result: Result<String, String>, expected: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    // Of a uid, nothing is made anew.
    refused(apply(json!({ "uid": "u" }), rules(1)).await, "uid mismatch");
    // A version that nothing has makes what isn't there, once.
    apply(json!({ "resourceVersion": "1" }), rules(1)).await.unwrap();
    refused(
        apply(json!({ "resourceVersion": "1" }), rules(2)).await,
        "the object has been modified",
    );
    refused(
        apply(json!({ "resourceVersion": "1" }), rules(1)).await,
        "the object has been modified",
    );
    let read = ["get", "clusterrole", name, "-o", "json"];
    let role: Value = serde_json::from_str(&cluster.admin(&read, "").await.unwrap()).unwrap();
    assert_eq!(role["rules"], rules(1));
    let metadata = json!({
        "uid": role["metadata"]["uid"], "resourceVersion": role["metadata"]["resourceVersion"],
    });
    apply(metadata.clone(), rules(2)).await.unwrap();
    refused(apply(metadata, rules(1)).await, "the object has been modified");
    cluster.admin(&["delete", "clusterrole", name], "").await.unwrap();
}
