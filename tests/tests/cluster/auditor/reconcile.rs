//! Reconcile outcomes for every state of the role.

use super::*;

/// Returns the number of Events AuditorRolePreserved.
async fn count_preserved_events(fixture: &Fixture) -> usize {
    let reasons = fixture.event_reasons().await;
    let preserved = reasons.iter();
    preserved.filter(|reason| *reason == "AuditorRolePreserved").count()
}

#[tokio::test]
async fn upgrades_shipped_role_and_respects_downgrade_and_deletion() {
    let fixture = Fixture::start().await;

    // An unmodified role of an earlier release is upgraded.
    fixture.reset_role_to_version(1).await;
    let before = fixture.role().await.unwrap();
    assert_eq!(before["rules"], rules(1));
    let (_, printed, _) = fixture.dry_run(&[]).await;
    assert!(
        printed.starts_with("append what version 2 adds")
            && printed.contains(
                "\n+sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n"
            ),
        "{printed}"
    );
    assert_eq!(fixture.role().await.unwrap(), before, "--dry-run wrote");
    // Labels that other clients added or removed are preserved.
    let labels = json!({ "team": "a", "app.kubernetes.io/name": null });
    fixture.patch_role("merge", &json!({ "metadata": { "labels": labels } })).await;
    let outcome = fixture.run_webhook_once(&[]).await;
    assert!(outcome.contains("outcome=\"upgraded\""), "{outcome}");
    let after = fixture.role().await.unwrap();
    assert_eq!(after["rules"], rules(2));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let labels = &after["metadata"]["labels"];
    assert_eq!((&labels["team"], &labels["app.kubernetes.io/name"]), (&json!("a"), &Value::Null));
    assert!(fixture.event_reasons().await.contains(&"AuditorRoleUpgraded".to_owned()));

    // A role of the latest version is not written.
    let version = fixture.resource_version().await;
    let outcome = fixture.run_webhook_once(&[]).await;
    assert!(outcome.contains("outcome=\"current\""), "{outcome}");
    assert_eq!(fixture.resource_version().await, version);

    // A downgrade removes no rules.
    fixture
        .assert_role_preserved(&["--auditor-preset-version=1"], "a later release wrote it")
        .await;

    // A deleted role is not recreated in these modes.
    fixture.delete_role().await;
    for args in [["--auditor-role=upgrade-only"], ["--auditor-role=report"]] {
        let before = count_preserved_events(&fixture).await;
        let outcome = fixture.run_webhook_once(&args).await;
        assert!(outcome.contains("outcome=\"preserved\""), "{outcome}");
        assert_eq!(fixture.role().await, None);
        eventually("an Event AuditorRolePreserved is recorded", || async {
            (count_preserved_events(&fixture).await > before).then_some(())
        })
        .await;
        let report = report(&fixture.cluster).await;
        assert_eq!((&report["exists"], &report["plan"]), (&json!(false), &json!("preserve")));
    }
    let (_, printed, _) = fixture.dry_run(&["--auditor-role=upgrade-only"]).await;
    assert!(printed.starts_with("preserve ClusterRole"), "{printed}");
    let (_, printed, _) = fixture.dry_run(&[]).await;
    assert!(printed.starts_with("create ClusterRole"), "{printed}");
    assert_eq!(fixture.role().await, None, "--dry-run wrote");
}

#[tokio::test]
async fn preserves_role_managed_by_others() {
    let fixture = Fixture::start().await;

    // Report-only mode.
    fixture.reset_role_to_version(1).await;
    fixture.assert_role_preserved(&["--auditor-role=report"], "--auditor-role=report").await;

    // The annotation autoupdate is "false", as for the default roles of Kubernetes.
    fixture
        .admin(
            &["annotate", "clusterrole", ROLE, "rbac.authorization.kubernetes.io/autoupdate=false"],
            "",
        )
        .await;
    fixture.assert_role_preserved(&[], "autoupdate is \"false\"").await;

    // An administrator modified the rules.
    fixture.reset_role_to_version(1).await;
    let patch = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    fixture.patch_role("json", &patch).await;
    fixture.assert_role_preserved(&[], "managed by kubectl-patch").await;
    let report = report(&fixture.cluster).await;
    assert_eq!(
        (&report["modified"], &report["difference"]),
        (
            &json!(true),
            &json!([
                "-sessionpolicies.operator.metalbear.co: delete",
                "+sessiontrackers.visibility.operator.metalbear.co: get, list, watch",
            ])
        )
    );
    assert!(fixture.event_reasons().await.contains(&"AuditorRolePreserved".to_owned()));

    // A repository applied the rules of version 1, so only its metadata identifies the owner.
    let tracking = "infra:rbac.authorization.k8s.io/ClusterRole:/mirrord-operator-auditor";
    let argo = json!({ "annotations": { "argocd.argoproj.io/tracking-id": tracking } });
    let flux = json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "infra" } });
    let flux_args: &[&str] = &["apply", "--server-side", "--field-manager=kustomize-controller"];
    for (args, metadata, reason) in [
        (&["apply"][..], argo, "managed by Argo CD"),
        (flux_args, flux, "managed by Flux"),
        (flux_args, json!({}), "managed by kustomize-controller"),
        (&["apply"], json!({}), "managed by kubectl apply"),
        (&["create"], json!({}), "managed by kubectl-create"),
    ] {
        fixture.delete_role().await;
        fixture.apply_role(args, metadata, &rules(1)).await;
        fixture.assert_role_preserved(&[], reason).await;
    }

    // Without managed fields, the API server reports a conflict.
    fixture.patch_role("merge", &json!({ "metadata": { "managedFields": [{}] } })).await;
    fixture.assert_role_preserved(&[], "another field manager owns its rules").await;

    // The role is aggregated from other roles.
    fixture.delete_role().await;
    let aggregated = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": ROLE },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
    });
    fixture.admin(&["create", "-f", "-"], &aggregated.to_string()).await;
    fixture.assert_role_preserved(&[], "aggregationRule").await;
}
