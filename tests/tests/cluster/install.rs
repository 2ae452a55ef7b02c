//! Validation of the manifests by the API server.

use crate::support::{admin_json, eventually, shared};

/// Dry-runs the base, the overlay without trackers and the CRDs over an existing installation.
#[tokio::test]
async fn manifests_pass_strict_server_side_validation() {
    let cluster = shared();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    for args in [
        ["apply", "--dry-run=server", "--validate=strict", "-k", "manifests/base"],
        [
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-k",
            "manifests/overlays/without-trackers",
        ],
        ["apply", "--dry-run=server", "--validate=strict", "-f", "crds"],
        [
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "manifests/components/network-policy/network-policy.yaml",
        ],
    ] {
        let path = format!("{folder}{}", args[4]);
        let args = [args[0], args[1], args[2], args[3], &path];
        let output = cluster.plane.kubectl(cluster.plane.admin().path(), &args).await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", output.stderr);
        // The API server warns of accepted problems, such as CEL that fails its type check and
        // unknown formats.
        assert!(!output.stderr.contains("Warning"), "{args:?}: {}", output.stderr);
    }
}

/// Checks the CEL type warnings that the API server adds to the status of stored policies.
#[tokio::test]
async fn guard_policies_type_check() {
    let cluster = shared();
    for name in [
        "sessions.mirrord-sessions",
        "webhook-configurations.mirrord-sessions",
        "auditor-role.mirrord-sessions",
        "api-services.mirrord-sessions",
    ] {
        let args = ["get", "validatingadmissionpolicy", name, "-o", "json"];
        let policy = eventually("the policy is type-checked", || async {
            let policy = admin_json(cluster, &args).await;
            (policy["status"]["observedGeneration"] == policy["metadata"]["generation"])
                .then_some(policy)
        })
        .await;
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{name}: {warnings:#}");
    }
}
