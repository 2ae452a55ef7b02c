//! The webhook's service account may change nothing of an APIService but its CA bundle.

use std::collections::BTreeSet;

use mirrord_sessions_crds::{CONTROLLER_USERNAME, TRACKER_API_SERVICE};
use serde_json::{Value, json};

use crate::support::shared;

/// What each field of the spec may be changed to.
fn changes() -> Vec<(&'static str, Value)> {
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
    let cluster = shared();
    let stored = ["get", "apiservice", TRACKER_API_SERVICE, "-o", "json"];
    let stored: Value = serde_json::from_str(&cluster.admin(&stored, "").await.unwrap()).unwrap();
    // As the service account, with every right that RBAC can give: the policy alone is tested.
    let user = format!("--as={CONTROLLER_USERNAME}");
    let ask = async |args: &[&str], input: &Value| {
        let args = [&[user.as_str(), "--as-group=system:masters"], args].concat();
        let admin = cluster.plane.admin().path();
        cluster.plane.kubectl_with_input(admin, &args, &input.to_string()).await.unwrap()
    };
    let patched = async |patch: Value| {
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
        ask(&args, &Value::Null).await
    };
    let output = patched(json!({ "spec": { "caBundle": null } })).await;
    assert!(output.status.success(), "{output:?}");

    let metadata = [
        ("labels", json!({ "a": "b" })),
        ("annotations", json!({ "a": "b" })),
        ("finalizers", json!(["example.com/hold"])),
    ];
    let changed = metadata
        .into_iter()
        .map(|(field, value)| ("metadata", field, value))
        .chain(changes().into_iter().map(|(field, value)| ("spec", field, value)));
    let mut wrong = Vec::new();
    for (part, field, value) in changed {
        let mut patch = json!({ part: { field: value } });
        if field == "insecureSkipTLSVerify" {
            patch["spec"]["caBundle"] = Value::Null;
        }
        let output = patched(patch).await;
        // Group and version are part of the name, so that the API server refuses them itself.
        let refused = output.stderr.contains("'api-services.mirrord-sessions'")
            || matches!(field, "group" | "version");
        if output.status.success() || !refused {
            wrong.push(format!("{part}.{field}: {output:?}"));
        }
    }
    let mut another = stored.clone();
    another["metadata"] = json!({ "name": "v1.other.example.com" });
    another["spec"]["group"] = json!("other.example.com");
    for (args, input) in [
        (&["create", "--dry-run=server", "-f", "-"][..], &another),
        (&["delete", "--dry-run=server", "apiservice", TRACKER_API_SERVICE], &Value::Null),
    ] {
        let output = ask(args, input).await;
        if !output.stderr.contains("'api-services.mirrord-sessions'") {
            wrong.push(format!("{args:?}: {output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The policy names each field; a field that a later Kubernetes adds must not slip through.
#[tokio::test]
async fn covers_every_field_of_api_service() {
    let path = "/openapi/v3/apis/apiregistration.k8s.io/v1";
    let schema = shared().admin(&["get", "--raw", path], "").await.unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let spec = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec";
    let fields = schema["components"]["schemas"][spec]["properties"].as_object().unwrap();
    let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    let changed = changes().into_iter().map(|(field, _)| field);
    let known: BTreeSet<&str> = changed.chain(["caBundle"]).collect();
    assert_eq!(fields, known);
}
