//! A role in every state that a leader may find it in.

use super::*;

/// How many Events tell of a role that was left alone.
async fn preserved(fixture: &Fixture) -> usize {
    let reasons = fixture.event_reasons().await;
    let preserved = reasons.iter();
    preserved.filter(|reason| *reason == "AuditorRolePreserved").count()
}

#[tokio::test]
async fn upgrades_shipped_role_and_respects_downgrade_and_deletion() {
    let fixture = Fixture::start().await;

    // Upgraded, as it is still what the earlier release shipped.
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
    // With labels that others added, and without one of ours.
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

    // The latest: nothing is written.
    let version = fixture.resource_version().await;
    let outcome = fixture.run_webhook_once(&[]).await;
    assert!(outcome.contains("outcome=\"current\""), "{outcome}");
    assert_eq!(fixture.resource_version().await, version);

    // A downgrade takes nothing away.
    fixture
        .assert_role_preserved(&["--auditor-preset-version=1"], "a later release wrote it")
        .await;

    // Deleted on purpose.
    fixture.delete_role().await;
    for args in [["--auditor-role=upgrade-only"], ["--auditor-role=report"]] {
        let before = preserved(&fixture).await;
        let outcome = fixture.run_webhook_once(&args).await;
        assert!(outcome.contains("outcome=\"preserved\""), "{outcome}");
        assert_eq!(fixture.role().await, None);
        eventually("an Event tells", || async {
            (preserved(&fixture).await > before).then_some(())
        })
        .await;
        let seen = report(&fixture.cluster).await;
        assert_eq!((&seen["exists"], &seen["plan"]), (&json!(false), &json!("preserve")));
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

    // Told not to write.
    fixture.reset_role_to_version(1).await;
    fixture.assert_role_preserved(&["--auditor-role=report"], "--auditor-role=report").await;

    // autoupdate "false", as Kubernetes' own roles have it.
    fixture
        .admin(
            &["annotate", "clusterrole", ROLE, "rbac.authorization.kubernetes.io/autoupdate=false"],
            "",
        )
        .await;
    fixture.assert_role_preserved(&[], "autoupdate is \"false\"").await;

    // Modified by an administrator.
    fixture.reset_role_to_version(1).await;
    let more = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    fixture.patch_role("json", &more).await;
    fixture.assert_role_preserved(&[], "managed by kubectl-patch").await;
    let seen = report(&fixture.cluster).await;
    assert_eq!(
        (&seen["modified"], &seen["difference"]),
        (
            &json!(true),
            &json!([
                "-sessionpolicies.operator.metalbear.co: delete",
                "+sessiontrackers.visibility.operator.metalbear.co: get, list, watch",
            ])
        )
    );
    assert!(fixture.event_reasons().await.contains(&"AuditorRolePreserved".to_owned()));

    // Applied from a repository: what version 1 was, so that only its tracking tells.
    let tracking = "infra:rbac.authorization.k8s.io/ClusterRole:/mirrord-operator-auditor";
    let argo = json!({ "annotations": { "argocd.argoproj.io/tracking-id": tracking } });
    let flux = json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "infra" } });
    let flux_args: &[&str] = &["apply", "--server-side", "--field-manager=kustomize-controller"];
    for (args, metadata, why) in [
        (&["apply"][..], argo, "managed by Argo CD"),
        (flux_args, flux, "managed by Flux"),
        (flux_args, json!({}), "managed by kustomize-controller"),
        (&["apply"], json!({}), "managed by kubectl apply"),
        (&["create"], json!({}), "managed by kubectl-create"),
    ] {
        fixture.delete_role().await;
        fixture.apply_role(args, metadata, &rules(1)).await;
        fixture.assert_role_preserved(&[], why).await;
    }

    // Nothing tells whose it is, and the API server says that it isn't ours.
    fixture.patch_role("merge", &json!({ "metadata": { "managedFields": [{}] } })).await;
    fixture.assert_role_preserved(&[], "somebody else owns its rules").await;

    // Filled in from other roles.
    fixture.delete_role().await;
    let aggregated = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": ROLE },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
    });
    fixture.admin(&["create", "-f", "-"], &aggregated.to_string()).await;
    fixture.assert_role_preserved(&[], "aggregationRule").await;
}
