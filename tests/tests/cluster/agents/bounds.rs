//! Bounds of agents, which keep them small enough to be bound.

use mirrord_sessions_tests::agents::{agent_name, job_path, send_request, targetless_job};
use serde_json::{Map, Value, json};

use super::fixtures::{admin_client, wait_for_binding};
use crate::support::{create_namespace, name_of, shared};

fn entries(count: usize, value: &str) -> Value {
    (0..count).map(|n| (format!("a{n}"), json!(value))).collect::<Map<_, _>>().into()
}

/// Returns a Job with additional annotations and labels.
fn job_with(annotations: &Value, labels: &Value) -> Value {
    let mut job = targetless_job();
    for (field, additional) in [("annotations", annotations), ("labels", labels)] {
        let fields = job["metadata"][field].as_object_mut().unwrap();
        fields.extend(additional.as_object().unwrap().clone());
    }
    job
}

/// Returns whether the guard policy denied a write with this message.
fn is_denied(result: &Result<Value, kube::Error>, message: &str) -> bool {
    matches!(result, Err(kube::Error::Api(status))
        if status.message.contains("'agents.mirrord-sessions'") && status.message.contains(message))
}

const MANY_ANNOTATIONS: &str = "64 annotations at most";
const LARGE_ANNOTATIONS: &str = "leave 16 KiB for its binding";
const MANY_LABELS: &str = "64 labels at most";

#[tokio::test]
async fn denies_large_agents() {
    let client = admin_client(shared()).await;
    let home = create_namespace(shared(), "bounds").await;
    let all = job_path(&home.name, "");
    let none = json!({});
    let mut failures = Vec::new();
    for (name, job, message) in [
        ("45,000 annotations", job_with(&entries(45_000, ""), &none), Some(MANY_ANNOTATIONS)),
        ("245 KiB", job_with(&entries(10, &"a".repeat(25_000)), &none), Some(LARGE_ANNOTATIONS)),
        ("65 labels", job_with(&none, &entries(64, "")), Some(MANY_LABELS)),
        ("within the bounds", job_with(&entries(50, &"a".repeat(1000)), &entries(60, "")), None),
    ] {
        let result = send_request(&client, "POST", &all, &job).await;
        let is_expected = message.map_or(result.is_ok(), |message| is_denied(&result, message));
        if !is_expected {
            failures.push(format!("create, {name}: {result:?}"));
        }
    }
    let mut other = job_with(&entries(100, &"a".repeat(1000)), &none);
    other["metadata"]["name"] = json!(format!("x{}", agent_name()));
    let result = send_request(&client, "POST", &all, &other).await;
    if let Err(error) = result {
        failures.push(format!("another Job: {error}"));
    }

    let agent = targetless_job();
    send_request(&client, "POST", &all, &agent).await.unwrap();
    wait_for_binding(&client, &home.name, name_of(&agent)).await;
    let path = job_path(&home.name, name_of(&agent));
    let large = json!({ "a": "a".repeat(244 << 10) });
    for (name, subresource, annotations, message) in [
        ("many", "", entries(65, ""), Some(MANY_ANNOTATIONS)),
        ("many in status", "/status", entries(65, ""), Some(MANY_ANNOTATIONS)),
        ("large", "", large.clone(), Some(LARGE_ANNOTATIONS)),
        ("large in status", "/status", large, Some(LARGE_ANNOTATIONS)),
        ("few", "", entries(20, "a"), None),
    ] {
        let change = json!({ "metadata": { "annotations": annotations } });
        let path = format!("{path}{subresource}");
        let result = send_request(&client, "PATCH", &path, &change).await;
        let is_expected = message.map_or(result.is_ok(), |message| is_denied(&result, message));
        if !is_expected {
            failures.push(format!("update, {name}: {result:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
