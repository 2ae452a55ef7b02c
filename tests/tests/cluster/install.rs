//! The manifests install, as they are and strictly checked.

use crate::support::{admin_json, eventually, shared};

/// Everything of the base and of the overlay without trackers passes the API server's strict check,
/// applied again over what is installed.
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
    ] {
        let path = format!("{folder}{}", args[4]);
        let args = [args[0], args[1], args[2], args[3], &path];
        let output = cluster.plane.kubectl(cluster.plane.admin().path(), &args).await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", output.stderr);
        // The API server warns of what it takes and finds doubtful: CEL that doesn't type-check,
        // formats that it doesn't know.
        assert!(!output.stderr.contains("Warning"), "{args:?}: {}", output.stderr);
    }
}

/// The API server type-checks the CEL of a policy after it was stored, and tells in its status.
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
        let policy = eventually("the policy was type-checked", || async {
            let policy = admin_json(cluster, &args).await;
            (policy["status"]["observedGeneration"] == policy["metadata"]["generation"])
                .then_some(policy)
        })
        .await;
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{name}: {warnings:#}");
    }
}
