//! A role in every state that a leader may find it in.

use super::*;

/// How many Events tell of a role that was left alone.
async fn preserved(stage: &Stage) -> usize {
    let reasons = stage.reasons().await;
    let preserved = reasons.iter();
    preserved.filter(|reason| *reason == "AuditorRolePreserved").count()
}

#[tokio::test]
async fn every_role_gets_what_is_due_to_it() {
    let stage = Stage::set().await;

    // Upgraded, as it is still what the earlier release shipped.
    stage.reset(1).await;
    let before = stage.role().await.unwrap();
    assert_eq!(before["rules"], rules(1));
    let (_, printed, _) = stage.dry_run(&[]).await;
    assert!(
        printed.starts_with("append what version 2 adds")
            && printed.contains(
                "\n+sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n"
            ),
        "{printed}"
    );
    assert_eq!(stage.role().await.unwrap(), before, "--dry-run wrote");
    // With labels that others added, and without one of ours.
    let labels = json!({ "team": "a", "app.kubernetes.io/name": null });
    stage.patch_role("merge", &json!({ "metadata": { "labels": labels } })).await;
    let told = stage.run(&[]).await;
    assert!(told.contains("outcome=\"upgraded\""), "{told}");
    let after = stage.role().await.unwrap();
    assert_eq!(after["rules"], rules(2));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let labels = &after["metadata"]["labels"];
    assert_eq!((&labels["team"], &labels["app.kubernetes.io/name"]), (&json!("a"), &Value::Null));
    assert!(stage.reasons().await.contains(&"AuditorRoleUpgraded".to_owned()));

    // The latest: nothing is written.
    let version = stage.resource_version().await;
    let told = stage.run(&[]).await;
    assert!(told.contains("outcome=\"current\""), "{told}");
    assert_eq!(stage.resource_version().await, version);

    // A downgrade takes nothing away.
    stage.preserved(&["--auditor-preset-version=1"], "a later release wrote it").await;

    // Deleted on purpose.
    stage.delete_role().await;
    for args in [["--auditor-role=upgrade-only"], ["--auditor-role=report"]] {
        let before = preserved(&stage).await;
        let told = stage.run(&args).await;
        assert!(told.contains("outcome=\"preserved\""), "{told}");
        assert_eq!(stage.role().await, None);
        eventually("an Event tells", || async { (preserved(&stage).await > before).then_some(()) })
            .await;
        let seen = report(&stage.cluster).await;
        assert_eq!((&seen["exists"], &seen["plan"]), (&json!(false), &json!("preserve")));
    }
    let (_, printed, _) = stage.dry_run(&["--auditor-role=upgrade-only"]).await;
    assert!(printed.starts_with("preserve ClusterRole"), "{printed}");
    let (_, printed, _) = stage.dry_run(&[]).await;
    assert!(printed.starts_with("create ClusterRole"), "{printed}");
    assert_eq!(stage.role().await, None, "--dry-run wrote");
}

#[tokio::test]
async fn what_is_somebody_elses_stays_as_it_is() {
    let stage = Stage::set().await;

    // Told not to write.
    stage.reset(1).await;
    stage.preserved(&["--auditor-role=report"], "--auditor-role=report").await;

    // autoupdate "false", as Kubernetes' own roles have it.
    stage
        .admin(
            &["annotate", "clusterrole", ROLE, "rbac.authorization.kubernetes.io/autoupdate=false"],
            "",
        )
        .await;
    stage.preserved(&[], "autoupdate is \"false\"").await;

    // Modified by an administrator.
    stage.reset(1).await;
    let more = json!([{ "op": "add", "path": "/rules/0/verbs/-", "value": "delete" }]);
    stage.patch_role("json", &more).await;
    stage.preserved(&[], "managed by kubectl-patch").await;
    let seen = report(&stage.cluster).await;
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
    assert!(stage.reasons().await.contains(&"AuditorRolePreserved".to_owned()));

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
        stage.delete_role().await;
        stage.apply(args, metadata, &rules(1)).await;
        stage.preserved(&[], why).await;
    }

    // Nothing tells whose it is, and the API server says that it isn't ours.
    stage.patch_role("merge", &json!({ "metadata": { "managedFields": [{}] } })).await;
    stage.preserved(&[], "somebody else owns its rules").await;

    // Filled in from other roles.
    stage.delete_role().await;
    let aggregated = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": ROLE },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
    });
    stage.admin(&["create", "-f", "-"], &aggregated.to_string()).await;
    stage.preserved(&[], "aggregationRule").await;
}
