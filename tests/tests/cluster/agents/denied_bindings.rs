//! Agents whose binding is denied by an admission policy of the cluster.

use mirrord_sessions_crds::CONTROLLER_USERNAME;
use mirrord_sessions_tests::agents::{job_path, send_request, targetless_job};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, developer_client, start_agent, wait_for_deletion, wait_for_event, wait_for_guard,
    wait_for_session,
};
use crate::support::{create_namespace, eventually, name_of, shared};

/// Returns a policy with its binding that denies updates of Jobs by the controller in a namespace.
fn denial_of_bindings(namespace: &str) -> Value {
    let name = format!("{namespace}.example.com");
    let rules = json!([{
        "apiGroups": ["batch"], "apiVersions": ["*"], "resources": ["jobs"], "operations": ["UPDATE"],
    }]);
    let expression = format!("request.userInfo.username != '{CONTROLLER_USERNAME}'");
    let version = "admissionregistration.k8s.io/v1";
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": rules },
                "validations": [{ "expression": expression, "message": "frozen by example.com" }],
            },
        },
        {
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": {
                    "kubernetes.io/metadata.name": namespace,
                } } },
            },
        },
    ] })
}

#[tokio::test]
async fn deleted_session_stops_agent_without_binding() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "denied").await;
    let dev = developer_client(cluster, "denied@example.com", &[&home.name]).await;
    let policies = denial_of_bindings(&home.name).to_string();
    cluster.admin(&["apply", "-f", "-"], &policies).await.unwrap();
    let controller = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    let probe = targetless_job();
    send_request(&client, "POST", &job_path(&home.name, ""), &probe).await.unwrap();
    let probe = job_path(&home.name, name_of(&probe));
    let background = format!("{probe}?propagationPolicy=Background");
    eventually("bindings are denied", || async {
        let probe_path = format!("{probe}?dryRun=All");
        let patch =
            json!({ "metadata": { "annotations": { "operator.metalbear.co/session": "a" } } });
        let denied = send_request(&controller, "PATCH", &probe_path, &patch).await.err()?;
        denied.to_string().contains("frozen by example.com").then_some(())
    })
    .await;
    send_request(&client, "DELETE", &background, &Value::Null).await.unwrap();
    eventually("the Session of the probe is deleted", || async {
        home.sessions().await.is_empty().then_some(())
    })
    .await;

    let agent = start_agent(&dev, &home.name, &targetless_job()).await;
    let session = wait_for_session(&home).await;
    assert_eq!(session["spec"]["owner"]["username"], "denied@example.com");
    let message = session["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("not bound") && message.contains("frozen by example.com"),
        "{message}"
    );
    let note = wait_for_event(&home, "AgentNotBound").await;
    assert!(note.contains("frozen by example.com"), "{note}");
    let delete = ["delete", "session", name_of(&session), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_deletion(&client, &job_path(&home.name, name_of(&agent))).await;
    let note = wait_for_event(&home, "SessionStopped").await;
    assert!(note.contains("it was stopped by admin"), "{note}");
    assert!(home.sessions().await.is_empty());
}
