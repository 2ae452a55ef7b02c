//! Guard policy that lets the webhook change only the CA bundle of its APIService.

use std::collections::BTreeSet;

use mirrord_sessions_crds::TRACKER_API_SERVICE;
use serde_json::{Value, json};

use super::{kubectl_as_controller, schema_fields};
use crate::support::{admin_json, shared};

/// Returns a changed value for every field of the spec except the CA bundle.
fn changed_fields() -> Vec<(&'static str, Value)> {
    let service = |name: &str, namespace: &str, port: u16| json!({ "name": name, "namespace": namespace, "port": port });
    let (name, namespace) = ("mirrord-sessions-webhook", "mirrord-sessions");
    vec![
        ("group", json!("other.example.com")),
        ("groupPriorityMinimum", json!(1)),
        ("insecureSkipTLSVerify", json!(true)),
        ("service", service("other", namespace, 1)),
        ("service", service(name, "other", 1)),
        ("service", service(name, namespace, 2)),
        ("version", json!("v2")),
        ("versionPriority", json!(1)),
    ]
}

#[tokio::test]
async fn allows_only_ca_bundle_of_api_service() {
    let stored = ["get", "apiservice", TRACKER_API_SERVICE, "-o", "json"];
    let stored = admin_json(shared(), &stored).await;
    let patch = async |patch: Value| {
        let patch = patch.to_string();
        let args = [
            "patch",
            "apiservice",
            TRACKER_API_SERVICE,
            "--dry-run=server",
            "--type=merge",
            "-p",
            &patch,
        ];
        kubectl_as_controller(&args, &Value::Null).await
    };
    let output = patch(json!({ "spec": { "caBundle": null } })).await;
    assert!(output.status.success(), "{output:?}");

    let metadata = [
        ("labels", json!({ "a": "b" })),
        ("annotations", json!({ "a": "b" })),
        ("finalizers", json!(["example.com/hold"])),
    ];
    let changed = metadata
        .into_iter()
        .map(|(field, value)| ("metadata", field, value))
        .chain(changed_fields().into_iter().map(|(field, value)| ("spec", field, value)));
    let mut failures = Vec::new();
    for (part, field, value) in changed {
        let mut change = json!({ part: { field: value } });
        if field == "insecureSkipTLSVerify" {
            change["spec"]["caBundle"] = Value::Null;
        }
        let output = patch(change).await;
        // The API server itself denies changes of group and version, which are part of the name.
        let is_denied = output.stderr.contains("'api-services.mirrord-sessions'")
            || matches!(field, "group" | "version");
        if output.status.success() || !is_denied {
            failures.push(format!("{part}.{field}: {output:?}"));
        }
    }
    let mut another = stored.clone();
    another["metadata"] = json!({ "name": "v1.other.example.com" });
    another["spec"]["group"] = json!("other.example.com");
    for (args, input) in [
        (&["create", "--dry-run=server", "-f", "-"][..], &another),
        (&["delete", "--dry-run=server", "apiservice", TRACKER_API_SERVICE], &Value::Null),
    ] {
        let output = kubectl_as_controller(args, input).await;
        if !output.stderr.contains("'api-services.mirrord-sessions'") {
            failures.push(format!("{args:?}: {output:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks for fields that a later Kubernetes adds, because the policy lists every field by name.
#[tokio::test]
async fn covers_every_field_of_api_service() {
    let spec = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec";
    let fields = schema_fields("apiregistration.k8s.io/v1", spec).await;
    let changed = changed_fields().into_iter().map(|(field, _)| field);
    let known: BTreeSet<String> = changed.chain(["caBundle"]).map(ToOwned::to_owned).collect();
    assert_eq!(fields, known);
}
