//! Writes of the controller to Jobs, which a guard policy limits.

use mirrord_sessions_crds::CONTROLLER_USERNAME;
use mirrord_sessions_tests::agents::{agent_name, job_path, send_request, targetless_job};
use serde_json::{Value, json};

use crate::support::{create_namespace, shared};

const SESSION: &str = "operator.metalbear.co/session";

/// Checks that the controller uses its permissions on Jobs only to bind and delete agents.
#[tokio::test]
async fn controller_may_only_bind_and_delete_agents() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "controller").await;
    let controller = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    let admin = cluster.plane.admin().client().await.unwrap();
    // The other Job does not have the name of an agent, so the controller ignores it.
    let mut other = targetless_job();
    other["metadata"]["name"] = json!(format!("x{}", agent_name()));
    let agent = targetless_job();
    let unbound = targetless_job();
    let mut lookalike = targetless_job();
    lookalike["spec"]["template"]["spec"]["containers"][0]["name"] = json!("main");
    let mut paths = Vec::new();
    for job in [&agent, &other, &unbound, &lookalike] {
        send_request(&admin, "POST", &job_path(&namespace.name, ""), job).await.unwrap();
        paths.push(job_path(&namespace.name, job["metadata"]["name"].as_str().unwrap()));
    }
    let (agent, other, unbound, lookalike) = (&paths[0], &paths[1], &paths[2], &paths[3]);
    let annotate =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { key: value } } });
    let none = Value::Null;
    let all = job_path(&namespace.name, "");
    let status = format!("{agent}/status");
    let mut failures = Vec::new();
    for (name, method, path, body, allowed) in [
        ("create", "POST", &all, targetless_job(), false),
        ("bind", "PATCH", agent, annotate(SESSION, json!("a")), true),
        ("annotate", "PATCH", agent, annotate("team", json!("a")), false),
        (
            "remove an annotation",
            "PATCH",
            agent,
            annotate("sidecar.istio.io/inject", none.clone()),
            false,
        ),
        ("label", "PATCH", agent, json!({ "metadata": { "labels": { "team": "a" } } }), false),
        ("suspend", "PATCH", agent, json!({ "spec": { "suspend": true } }), false),
        ("write status", "PATCH", &status, annotate(SESSION, json!("b")), false),
        (
            "add a finalizer",
            "PATCH",
            agent,
            json!({ "metadata": { "finalizers": ["a.example.com/b"] } }),
            false,
        ),
        ("bind another Job", "PATCH", other, annotate(SESSION, json!("a")), false),
        ("delete another Job", "DELETE", other, none.clone(), false),
        ("delete a Job without the container", "DELETE", lookalike, none.clone(), false),
        ("delete a bound agent", "DELETE", agent, none.clone(), true),
        ("delete another agent", "DELETE", unbound, none.clone(), true),
    ] {
        let result = send_request(&controller, method, path, &body).await;
        let is_denied = matches!(&result, Err(kube::Error::Api(status))
            if status.message.contains("'controller-jobs.mirrord-sessions'"));
        if result.is_ok() != allowed || is_denied == allowed {
            failures.push(format!("{name}: {result:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
