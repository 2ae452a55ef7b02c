//! Leader election of the auditor: only the leader among several replicas writes the role.

use super::{role_recorder::RoleRecorder, *};

#[tokio::test]
async fn only_leader_writes_and_standby_takes_over() {
    let fixture = Fixture::start().await;
    let (a, b, c) = tokio::join!(
        fixture.start_webhook(&[]),
        fixture.start_webhook(&[]),
        fixture.start_webhook(&[])
    );
    let replicas = [a, b, c];
    eventually("the role exists", || fixture.role()).await;
    let leader = eventually("a replica leads", || async {
        let leader = replicas.iter().position(is_leader);
        leader.filter(|leader| replicas[*leader].log_text().contains("outcome="))
    })
    .await;
    let log = replicas[leader].log_text();
    assert!(log.contains("outcome=\"created\""), "{log}");
    assert_eq!(replicas.iter().filter(|replica| is_leader(replica)).count(), 1);
    let role = fixture.role().await;

    // The leader crashes. After its Lease has expired, the next leader finds the role unchanged.
    replicas[leader].kill().unwrap();
    let next = eventually("another replica leads", || async {
        let others = (0..replicas.len()).filter(|n| *n != leader);
        others.into_iter().find(|n| replicas[*n].log_text().contains("outcome=\"current\""))
    })
    .await;
    assert_eq!(fixture.role().await, role);
    // A leader that shuts down gracefully releases the Lease to the last replica at once.
    let last = 3 - leader - next;
    assert!(!is_leader(&replicas[last]));
    assert!(replicas[next].terminate().unwrap().success());
    let outcome = fixture.wait_for_outcome(&replicas[last]).await;
    assert!(outcome.contains("outcome=\"current\""), "{outcome}");
    let lease = [
        "get",
        "lease",
        MANAGER,
        "-n",
        "mirrord-sessions",
        "-o",
        "jsonpath={.spec.leaseTransitions}",
    ];
    // The leader of the installation and these three replicas.
    assert_eq!(fixture.admin(&lease, "").await, "4");
}

#[tokio::test]
async fn rolling_upgrade_and_downgrade_write_role_once() {
    let fixture = Fixture::start().await;
    let recorder = RoleRecorder::start(&fixture.cluster).await;
    let old = ["--auditor-preset-version=1"];
    let mut old_replicas =
        vec![fixture.start_webhook(&old).await, fixture.start_webhook(&old).await];
    eventually("the old release creates the role", || fixture.role()).await;
    // Replace one replica at a time, as a Deployment does.
    let mut new_replicas = Vec::new();
    while let Some(replica) = old_replicas.pop() {
        new_replicas.push(fixture.start_webhook(&[]).await);
        replica.terminate().unwrap();
    }
    eventually("the new release upgrades the role", || async {
        fixture.role().await.filter(|role| role["rules"] == rules(2))
    })
    .await;
    // Downgrade.
    while let Some(replica) = new_replicas.pop() {
        old_replicas.push(fixture.start_webhook(&old).await);
        replica.terminate().unwrap();
    }
    let leader = eventually("a replica of the old release leads", || async {
        old_replicas.iter().find(|replica| is_leader(replica))
    })
    .await;
    let outcome = fixture.wait_for_outcome(leader).await;
    assert!(outcome.contains("a later release wrote it"), "{outcome}");
    assert_eq!(recorder.stop().await, [("added", 1), ("modified", 2)]);
}

/// Checks how the API server handles the preconditions of the webhook's writes.
///
/// The effect of a resource version on a server-side apply of a missing object is undocumented.
#[tokio::test]
async fn api_server_enforces_apply_preconditions() {
    let cluster = shared();
    let name = "auditor-preconditions";
    let apply = |metadata: Value, rules: Value| async move {
        let role = cluster_role(name, metadata, &rules);
        let args =
            ["apply", "--server-side", "--field-manager=mirrord-sessions-webhook", "-f", "-"];
        let applied = cluster.admin(&args, &role.to_string()).await;
        applied.map_err(|error| error.to_string())
    };
    let assert_denied = |result: Result<String, String>, expected: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    // An apply with a uid never creates an object.
    assert_denied(apply(json!({ "uid": "u" }), rules(1)).await, "uid mismatch");
    // An apply with a resource version creates a missing object once.
    apply(json!({ "resourceVersion": "1" }), rules(1)).await.unwrap();
    assert_denied(
        apply(json!({ "resourceVersion": "1" }), rules(2)).await,
        "the object has been modified",
    );
    assert_denied(
        apply(json!({ "resourceVersion": "1" }), rules(1)).await,
        "the object has been modified",
    );
    let read = ["get", "clusterrole", name, "-o", "json"];
    let role = admin_json(cluster, &read).await;
    assert_eq!(role["rules"], rules(1));
    let metadata = json!({
        "uid": role["metadata"]["uid"], "resourceVersion": role["metadata"]["resourceVersion"],
    });
    apply(metadata.clone(), rules(2)).await.unwrap();
    assert_denied(apply(metadata, rules(1)).await, "the object has been modified");
    cluster.admin(&["delete", "clusterrole", name], "").await.unwrap();
}
