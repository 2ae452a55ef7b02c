//! Permissions of the webhook: it may write only the auditor role, and grant only what it holds.

use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::*;

/// Applies a ClusterRole as the webhook's service account in a server-side dry run.
async fn dry_run_apply_as_webhook(
    cluster: &Cluster,
    flags: &[&str],
    role: &Value,
) -> Result<String, String> {
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
    let args = [&args, flags].concat();
    let applied = cluster.admin(&args, &role.to_string()).await;
    applied.map_err(|error| error.to_string())
}

#[tokio::test]
async fn denies_escalation_of_auditor_role() {
    let cluster = shared();
    eventually("the role exists", || role(cluster)).await;
    let apply =
        async |role: &Value, flags: &[&str]| dry_run_apply_as_webhook(cluster, flags, role).await;
    // The webhook always applies its labels, because omitting them would release their ownership.
    let mut latest = cluster_role(ROLE, json!({}), &rules(2));
    latest["metadata"]["labels"] = role(cluster).await.unwrap()["metadata"]["labels"].clone();
    apply(&latest, &[]).await.unwrap();
    apply(&latest, &["--force-conflicts"]).await.unwrap();
    for rule in [
        json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }),
        json!({ "apiGroups": ["visibility.operator.metalbear.co"], "resources": ["sessiontrackers/join"], "verbs": ["create"] }),
        json!({ "apiGroups": ["operator.metalbear.co"], "resources": ["sessionpolicies"], "verbs": ["*"] }),
        json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }),
    ] {
        let mut escalated = latest.clone();
        escalated["rules"].as_array_mut().unwrap().push(rule);
        for force in [&[][..], &["--force-conflicts"]] {
            let error = apply(&escalated, force).await.unwrap_err();
            assert!(
                error.contains("attempting to grant RBAC permissions not currently held"),
                "{error}"
            );
        }
    }
    // The guard policy denies permissions that the webhook holds for its other tasks.
    let mut pods = latest.clone();
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    pods["rules"].as_array_mut().unwrap().push(rule);
    let error = apply(&pods, &[]).await.unwrap_err();
    assert!(error.contains("nothing of other API groups"), "{error}");
    // Aggregation from other roles is denied.
    let mut aggregated = latest.clone();
    aggregated["aggregationRule"] =
        json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
    let error = apply(&aggregated, &[]).await.unwrap_err();
    assert!(
        error.contains("must have cluster-admin privileges to use the aggregationRule"),
        "{error}"
    );
    // Writes of other roles and bindings of the auditor role are denied.
    let other = cluster_role("mirrord-operator-auditor-2", json!({}), &rules(2));
    let error = apply(&other, &[]).await.unwrap_err();
    assert!(error.contains("forbidden") && error.contains("cannot patch"), "{error}");
    let user = format!("--as={CONTROLLER_USERNAME}");
    for args in [
        ["create", "clusterrole", "other", "--verb=get", "--resource=pods", &user],
        [
            "create",
            "clusterrolebinding",
            "other",
            "--clusterrole=mirrord-operator-auditor",
            "--user=me",
            &user,
        ],
        ["delete", "clusterrole", ROLE, "--now", "--wait=false", &user],
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

/// Revokes a permission that this release needs, as if the previous release's manifests were
/// installed.
async fn revoke_tracker_reads(fixture: &Fixture) {
    let older = json!([{ "op": "remove", "path": "/rules/2" }]).to_string();
    let name = "mirrord-sessions-webhook-auditor";
    let patch = ["patch", "clusterrole", name, "--type=json", "-p", &older];
    fixture.admin(&patch, "").await;
}

#[tokio::test]
async fn reports_denied_upgrade() {
    let fixture = Fixture::start().await;
    fixture.reset_role_to_version(1).await;
    revoke_tracker_reads(&fixture).await;
    let before = fixture.role().await;
    let webhook = fixture.start_webhook(&[]).await;
    let outcome = fixture.wait_for_outcome(&webhook).await;
    for part in [
        "that it doesn't hold itself: apply the manifests of this release",
        "attempting to grant RBAC permissions not currently held",
        "sessiontrackers",
    ] {
        assert!(outcome.contains(part), "{part}: {outcome}");
    }
    assert_eq!(fixture.role().await, before);
    // The report describes the role, which the webhook could read.
    let report = eventually("the report contains an error", || async {
        let report = report(&fixture.cluster).await;
        report["error"].is_string().then_some(report)
    })
    .await;
    assert_eq!(
        (&report["exists"], &report["version"], &report["plan"]),
        (&json!(true), &json!(1), &json!("append")),
        "{report:#}"
    );
    // Every failure is counted, but a repeated error is logged once.
    eventually("the reconcile is retried", || async {
        let metrics = get_from_webhook(&webhook, "/metrics").await.unwrap();
        let count = metrics.lines().find_map(|line| {
            line.strip_prefix("mirrord_sessions_auditor_reconciles_total{outcome=\"failed\"} ")
        })?;
        (count.parse::<u32>().unwrap() > 1).then_some(())
    })
    .await;
    let metrics = get_from_webhook(&webhook, "/metrics").await.unwrap();
    assert!(metrics.contains("auditor_role_difference_lines{side=\"missing\"} 1"), "{metrics}");
    let log = webhook.log_text();
    assert_eq!(log.matches("failed to reconcile the auditor role").count(), 1, "{log}");
    let (succeeded, printed, error) = fixture.dry_run(&[]).await;
    assert!(
        !succeeded && printed.starts_with("append") && error.contains("this release"),
        "{printed}{error}"
    );
}

/// Checks that the report of an unreadable role does not claim that the role is absent.
#[tokio::test]
async fn reports_unreadable_role_as_unknown() {
    let fixture = Fixture::start().await;
    fixture.reset_role_to_version(2).await;
    let rules: Value = serde_json::from_str(
        &fixture.admin(&["get", "clusterrole", MANAGER, "-o", "jsonpath={.rules}"], "").await,
    )
    .unwrap();
    let index = rules.as_array().unwrap().iter();
    let index = index.clone().position(|rule| rule["resourceNames"] == json!([ROLE])).unwrap();
    let patch = json!([{ "op": "remove", "path": format!("/rules/{index}") }]).to_string();
    let patch = ["patch", "clusterrole", MANAGER, "--type=json", "-p", &patch];
    fixture.admin(&patch, "").await;

    let webhook = fixture.start_webhook(&[]).await;
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("can't be read"), "{outcome}");
    let report = eventually("the report contains an error", || async {
        let report = report(&fixture.cluster).await;
        report["error"].is_string().then_some(report)
    })
    .await;
    for field in ["exists", "modified", "autoUpdate", "difference"] {
        assert_eq!(report.get(field), Some(&Value::Null), "{field}: {report:#}");
    }
    assert_eq!(report["plan"], "unknown");
    let metrics = get_from_webhook(&webhook, "/metrics").await.unwrap();
    assert!(
        metrics.contains("auditor_role{outcome=\"failed\"} 1")
            && !metrics.contains("auditor_role_difference_lines{"),
        "{metrics}"
    );
}

#[tokio::test]
async fn reports_missing_permission_and_recovers() {
    let fixture = Fixture::start().await;
    let rights = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base/auditor.yaml");
    revoke_tracker_reads(&fixture).await;
    let webhook = fixture.start_webhook(&[]).await;
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(outcome.contains("apply the manifests of this release"), "{outcome}");
    assert!(
        outcome.contains("attempting to grant") && outcome.contains("sessiontrackers"),
        "{outcome}"
    );
    assert_eq!(fixture.role().await, None);
    eventually("an Event AuditorRoleFailed is recorded", || async {
        fixture.event_reasons().await.contains(&"AuditorRoleFailed".to_owned()).then_some(())
    })
    .await;
    eventually("the report contains an error", || async {
        let report = report(&fixture.cluster).await;
        let error = report["error"].as_str()?;
        error.contains("attempting to grant").then_some(())
    })
    .await;
    let (succeeded, printed, error) = fixture.dry_run(&[]).await;
    assert!(
        !succeeded && printed.starts_with("create") && error.contains("this release"),
        "{printed}{error}"
    );
    // The webhook keeps serving.
    assert!(get_from_webhook(&webhook, "/readyz").await.unwrap().contains("readyz check passed"));
    assert!(
        get_from_webhook(&webhook, "/metrics")
            .await
            .unwrap()
            .contains("auditor_role{outcome=\"failed\"} 1")
    );

    fixture.admin(&["apply", "-f", rights], "").await;
    eventually("the role exists", || fixture.role()).await;
    eventually("the webhook logs the creation of the role", || async {
        webhook.log_text().contains("outcome=\"created\"").then_some(())
    })
    .await;
    assert_eq!(report(&fixture.cluster).await["error"], Value::Null);

    // Without any permission for the role, the webhook still serves.
    assert!(webhook.terminate().unwrap().success());
    fixture.delete_role().await;
    fixture.admin(&["delete", "-f", rights], "").await;
    let webhook = fixture.start_webhook(&[]).await;
    let outcome = fixture.wait_for_outcome(&webhook).await;
    assert!(
        outcome.contains("may not be written") && outcome.contains("--auditor-role=report"),
        "{outcome}"
    );
    assert!(get_from_webhook(&webhook, "/readyz").await.unwrap().contains("readyz check passed"));
}
