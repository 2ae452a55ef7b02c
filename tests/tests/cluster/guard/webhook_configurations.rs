//! Guard policy that lets the webhook change only the CA bundles of its webhook configurations.

use std::collections::BTreeSet;

use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::{Value, json};

use super::{kubectl_as_controller, schema_fields};
use crate::support::{admin_json, shared};

/// Returns changed values for every field of a webhook.
fn changed_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("admissionReviewVersions", json!(["v1", "v1beta1"])),
        ("clientConfig", json!({ "url": "https://localhost:1/other" })),
        (
            "clientConfig",
            json!({ "service": { "name": "other", "namespace": "mirrord-sessions", "path": "/x" } }),
        ),
        ("clientConfig", json!({ "service": { "name": "x", "namespace": "other", "path": "/x" } })),
        (
            "clientConfig",
            json!({ "service": { "name": "x", "namespace": "mirrord-sessions", "path": "/other" } }),
        ),
        (
            "clientConfig",
            json!({ "service": { "name": "x", "namespace": "mirrord-sessions", "path": "/x", "port": 7 } }),
        ),
        ("failurePolicy", json!("Ignore")),
        ("matchConditions", json!([{ "name": "never", "expression": "false" }])),
        ("matchPolicy", json!("Exact")),
        ("name", json!("other.example.com")),
        ("namespaceSelector", json!({ "matchLabels": { "a": "b" } })),
        ("objectSelector", json!({ "matchLabels": { "a": "b" } })),
        ("reinvocationPolicy", json!("IfNeeded")),
        (
            "rules",
            json!([{ "apiGroups": ["example.com"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"] }]),
        ),
        ("sideEffects", json!("NoneOnDryRun")),
        ("timeoutSeconds", json!(1)),
    ]
}

/// Returns a configuration that matches no request.
fn configuration(kind: &str) -> Value {
    let mut webhook = json!({
        "name": "a.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": { "service": { "name": "x", "namespace": "mirrord-sessions", "path": "/x" } },
        "rules": [{ "apiGroups": ["nothing.example.com"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"] }],
    });
    let second = {
        webhook["timeoutSeconds"] = json!(5);
        let mut second = webhook.clone();
        second["name"] = json!("b.example.com");
        second
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": format!("test-guard-{}", kind.to_lowercase()) },
        "webhooks": [webhook, second],
    })
}

fn is_denied(output: &KubectlOutput, message: &str) -> bool {
    !output.status.success()
        && output.stderr.contains("'webhook-configurations.mirrord-sessions'")
        && output.stderr.contains(message)
}

async fn assert_allows_only_ca_bundles(kind: &str) {
    let cluster = shared();
    let configuration = configuration(kind);
    // `kubectl apply` would set an annotation that `kubectl replace` changes.
    cluster.admin(&["create", "-f", "-"], &configuration.to_string()).await.unwrap();
    let resource = format!("{kind}/{}", configuration["metadata"]["name"].as_str().unwrap());
    let stored = admin_json(cluster, &["get", &resource, "-o", "json"]).await;
    let replace = ["replace", "--dry-run=server", "-f", "-"];
    let mut failures = Vec::new();

    let mut bundles = stored.clone();
    // The API server validates that a CA bundle contains PEM certificates.
    let ca_bundle = cluster
        .admin(
            &[
                "get",
                "secret",
                "mirrord-sessions-webhook-ca",
                "-n",
                "mirrord-sessions",
                "-o",
                "jsonpath={.data.ca\\.crt}",
            ],
            "",
        )
        .await
        .unwrap();
    for webhook in bundles["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]["caBundle"] = json!(ca_bundle);
    }
    let output = kubectl_as_controller(&replace, &bundles).await;
    if !output.status.success() {
        failures.push(format!("CA bundles: {output:?}"));
    }

    let metadata = [
        ("labels", json!({ "a": "b" })),
        ("annotations", json!({ "a": "b" })),
        ("finalizers", json!(["example.com/hold"])),
        (
            "ownerReferences",
            json!([{ "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1" }]),
        ),
    ];
    let mut changed: Vec<(String, Value)> = metadata
        .into_iter()
        .map(|(field, value)| {
            let mut object = stored.clone();
            object["metadata"][field] = value;
            (format!("metadata.{field}"), object)
        })
        .collect();
    for (field, value) in changed_fields() {
        if field == "reinvocationPolicy" && kind == "ValidatingWebhookConfiguration" {
            continue;
        }
        let mut object = stored.clone();
        object["webhooks"][1][field] = value;
        changed.push((field.to_owned(), object));
    }
    let mut fewer = stored.clone();
    fewer["webhooks"].as_array_mut().unwrap().pop();
    changed.push(("removed webhook".into(), fewer));
    let mut none = stored.clone();
    none.as_object_mut().unwrap().remove("webhooks");
    changed.push(("no webhooks".into(), none));
    let mut more = stored.clone();
    let mut third = more["webhooks"][0].clone();
    third["name"] = json!("c.example.com");
    more["webhooks"].as_array_mut().unwrap().push(third);
    changed.push(("added webhook".into(), more));
    let mut swapped = stored.clone();
    swapped["webhooks"].as_array_mut().unwrap().reverse();
    changed.push(("reordered webhooks".into(), swapped));

    for (name, object) in changed {
        let output = kubectl_as_controller(&replace, &object).await;
        let message =
            if name.starts_with("metadata") { "metadata changed" } else { "a webhook changed" };
        if !is_denied(&output, message) {
            failures.push(format!("{name}: {output:?}"));
        }
    }
    let output =
        kubectl_as_controller(&["delete", "--dry-run=server", &resource], &Value::Null).await;
    if !is_denied(&output, "neither create nor delete") {
        failures.push(format!("delete: {output:?}"));
    }
    let mut another = configuration.clone();
    another["metadata"]["name"] = json!("test-guard-another");
    let output = kubectl_as_controller(&["create", "--dry-run=server", "-f", "-"], &another).await;
    if !is_denied(&output, "neither create nor delete") {
        failures.push(format!("create: {output:?}"));
    }
    assert!(failures.is_empty(), "{kind}:\n{}", failures.join("\n"));
}

#[tokio::test]
async fn allows_only_ca_bundles_of_mutating_configuration() {
    assert_allows_only_ca_bundles("MutatingWebhookConfiguration").await;
}

#[tokio::test]
async fn allows_only_ca_bundles_of_validating_configuration() {
    assert_allows_only_ca_bundles("ValidatingWebhookConfiguration").await;
}

/// Checks for fields that a later Kubernetes adds, because the policy lists every field by name.
#[tokio::test]
async fn covers_every_field_of_webhook() {
    let fields = async |kind: &str| {
        let type_name = format!("io.k8s.api.admissionregistration.v1.{kind}");
        schema_fields("admissionregistration.k8s.io/v1", &type_name).await
    };
    let changed: BTreeSet<String> =
        changed_fields().into_iter().map(|(field, _)| field.to_owned()).collect();
    assert_eq!(fields("MutatingWebhook").await, changed);
    assert!(fields("ValidatingWebhook").await.is_subset(&changed));
    let client: BTreeSet<String> = ["caBundle", "service", "url"].map(Into::into).into();
    assert_eq!(fields("WebhookClientConfig").await, client);
}
