//! The process can write that one role, and grant in it what it holds, and nothing else.

use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::*;

/// Applies a ClusterRole as the process' service account.
async fn apply_as_the_process(
    cluster: &Cluster,
    name: &str,
    rules: &Value,
) -> Result<String, String> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    });
    let user = format!("--as={CONTROLLER_USERNAME}");
    let args = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=false",
        &user,
        "-f",
        "-",
        "--field-manager=mirrord-sessions-webhook",
    ];
    let applied = cluster.admin(&args, &role.to_string()).await;
    applied.map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_rule_more_than_it_holds_is_refused() {
    let cluster = shared();
    eventually("there is a role", || role(cluster)).await;
    let apply = |name, rules| async move { apply_as_the_process(cluster, name, &rules).await };
    apply(ROLE, rules(2)).await.unwrap();
    for more in [
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }),
        json!({ "apiGroups": ["visibility.operator.metalbear.co"], "resources": ["sessiontrackers/join"], "verbs": ["create"] }),
        json!({ "apiGroups": ["operator.metalbear.co"], "resources": ["sessionpolicies"], "verbs": ["*"] }),
        json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }),
    ] {
        let mut rules = rules(2);
        rules.as_array_mut().unwrap().push(more);
        let error = apply(ROLE, rules.clone()).await.unwrap_err();
        assert!(
            error.contains("attempting to grant RBAC permissions not currently held"),
            "{error}"
        );
    }
    // No other role, and no binding of this one.
    let error = apply("mirrord-operator-auditor-2", rules(2))
        .await
        .unwrap_err();
    assert!(
        error.contains("forbidden") && error.contains("cannot patch"),
        "{error}"
    );
    let user = format!("--as={CONTROLLER_USERNAME}");
    for args in [
        [
            "create",
            "clusterrole",
            "other",
            "--verb=get",
            "--resource=pods",
            &user,
        ],
        [
            "create",
            "clusterrolebinding",
            "other",
            "--clusterrole=mirrord-operator-auditor",
            "--user=me",
            &user,
        ],
        [
            "delete",
            "clusterrole",
            ROLE,
            "--now",
            "--wait=false",
            &user,
        ],
    ] {
        let error = cluster.admin(&args, "").await.unwrap_err().to_string();
        assert!(error.contains("forbidden"), "{args:?}: {error}");
    }
    for verb in ["escalate", "bind", "update", "delete", "list"] {
        let resource = format!("clusterroles.rbac.authorization.k8s.io/{ROLE}");
        let can = ["auth", "can-i", verb, &resource, &user];
        assert!(cluster.admin(&can, "").await.is_err(), "{verb}");
    }
}

#[tokio::test]
async fn a_missing_right_is_told_and_mends_itself() {
    let stage = Stage::set().await;
    let rights = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../manifests/base/auditor.yaml"
    );
    // The manifests of the release before, with the process of this one.
    let older = json!([{ "op": "remove", "path": "/rules/2" }]).to_string();
    stage
        .admin(
            &[
                "patch",
                "clusterrole",
                "mirrord-sessions-webhook-auditor",
                "--type=json",
                "-p",
                &older,
            ],
            "",
        )
        .await;
    let webhook = stage.start(&[]).await;
    let told = stage.told(&webhook).await;
    assert!(
        told.contains("apply the manifests of this very release"),
        "{told}"
    );
    assert!(
        told.contains("attempting to grant") && told.contains("sessiontrackers"),
        "{told}"
    );
    assert_eq!(stage.role().await, None);
    eventually("an Event tells", || async {
        stage
            .reasons()
            .await
            .contains(&"AuditorRoleFailed".to_owned())
            .then_some(())
    })
    .await;
    eventually("the report tells", || async {
        let report = report(&stage.cluster).await;
        let error = report["error"].as_str()?;
        error.contains("attempting to grant").then_some(())
    })
    .await;
    let (succeeded, printed, error) = stage.dry_run(&[]).await;
    assert!(
        !succeeded && printed.starts_with("create") && error.contains("this very release"),
        "{printed}{error}"
    );
    // It goes on serving.
    assert!(
        ask(&webhook, "/readyz")
            .await
            .unwrap()
            .contains("readyz check passed")
    );
    assert!(
        ask(&webhook, "/metrics")
            .await
            .unwrap()
            .contains("auditor_role{outcome=\"failed\"} 1")
    );

    stage.admin(&["apply", "-f", rights], "").await;
    eventually("the role is there", || stage.role()).await;
    eventually("and told", || async {
        webhook
            .log_text()
            .contains("outcome=\"created\"")
            .then_some(())
    })
    .await;
    assert_eq!(report(&stage.cluster).await["error"], Value::Null);

    // Without any right to it, nothing is reached and nothing ends.
    assert!(webhook.terminate().unwrap().success());
    stage.delete_role().await;
    stage.admin(&["delete", "-f", rights], "").await;
    let webhook = stage.start(&[]).await;
    let told = stage.told(&webhook).await;
    assert!(
        told.contains("may not be written") && told.contains("--auditor-role=report"),
        "{told}"
    );
    assert!(
        ask(&webhook, "/readyz")
            .await
            .unwrap()
            .contains("readyz check passed")
    );
}
