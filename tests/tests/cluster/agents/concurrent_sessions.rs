//! Warnings and Events about concurrent sessions on one target.

use std::time::{Duration, Instant};

use http::Request;
use kube::{Client, client::Body};
use mirrord_sessions_tests::{
    agents::{
        container_id, ephemeral_container, job_path, send_request, targeted_job, targetless_job,
    },
    cluster::Cluster,
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, developer_client, event_notes, start_agent,
    wait_for_event, wait_for_guard, wait_for_session, wait_for_sessions,
};
use crate::support::{create_namespace, eventually, name_of, session_manifest, shared};

#[tokio::test]
async fn warns_session_creator_of_sessions_on_same_target() {
    let cluster = shared();
    let shop = create_namespace(cluster, "neighbours").await;
    let (alice, bob) = (shop.user("neighbour-a", &[]), shop.user("neighbour-b", &[]));
    for user in [&alice, &bob] {
        shop.bind_role("mirrord-operator-user", &user.name).await;
    }
    let manifest_for = |target: &str| {
        let mut session = session_manifest("ignored", json!({ "target": target }));
        session["metadata"] = json!({ "generateName": "s-" });
        session.to_string()
    };
    let first = alice.kubectl(&["create", "-f", "-"], &manifest_for("deployment/web")).await;
    assert!(first.status.success() && !first.stderr.contains("already"), "{first:?}");
    let warning = "Warning: another user already has a session on deployment/web";
    eventually("bob is warned of alice's session", || async {
        let second = bob
            .kubectl(&["create", "-f", "-"], &manifest_for("deployment/web/container/api"))
            .await;
        assert!(second.status.success(), "{second:?}");
        second.stderr.contains(warning).then_some(())
    })
    .await;
    for target in ["deployment/webs", "targetless"] {
        let other = bob.kubectl(&["create", "-f", "-"], &manifest_for(target)).await;
        assert!(other.status.success() && !other.stderr.contains("already"), "{other:?}");
    }

    // The target annotation is used when the target of an agent cannot be resolved.
    let mut agent = targetless_job();
    agent["metadata"]["annotations"]["operator.metalbear.co/target"] = json!("deployment/web");
    let output = dry_run_warnings(cluster, &shop.name, &agent).await;
    assert!(output.contains(warning), "{output}");
    // Any client that reaches the port could read a name.
    assert!(!output.contains("neighbour-a"), "{output}");
}

/// Creates an agent's Job in a server-side dry run and returns the warnings that kubectl prints.
pub(super) async fn dry_run_warnings(cluster: &Cluster, namespace: &str, agent: &Value) -> String {
    let admin = cluster.plane.admin().path();
    let create = ["create", "-n", namespace, "--dry-run=server", "-f", "-"];
    let output =
        cluster.plane.kubectl_with_input(admin, &create, &agent.to_string()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stderr
}

/// Checks agents of plain mirrord, which identify their target only by container and node.
#[tokio::test]
async fn warns_agent_creator_of_sessions_on_same_target() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let (home, shop) = (
        create_namespace(cluster, "beside-home").await,
        create_namespace(cluster, "beside-shop").await,
    );
    let node = create_node(&client, "beside-1").await;
    let target = create_deployment(&client, &shop.name, "web", &node).await;
    let other = create_deployment(&client, &shop.name, "other", &node).await;
    let address = json!({ "status": { "podIP": "10.1.0.10", "podIPs": [{ "ip": "10.1.0.10" }] } });
    let pod = |name: &str| format!("/api/v1/namespaces/{}/pods/{name}", shop.name);
    let status = format!("{}/status", pod(&target.pod));
    let alice = developer_client(cluster, "beside-a@example.com", &[&home.name]).await;
    let job = targeted_job(&target.container, &node);
    start_agent(&alice, &home.name, &job).await;
    wait_for_session(&shop).await;
    assert!(event_notes(&shop, "TargetShared").await.is_empty());

    // The target's Pod is found with and without the Pod address in the agent's environment.
    let warning = "Warning: another user already has a session on deployment/web";
    let warnings_on = async |container: &str| {
        let agent = targeted_job(container, &node);
        dry_run_warnings(cluster, &home.name, &agent).await
    };
    let assert_warned = async || {
        eventually("admin is warned of alice's session", || async {
            warnings_on(&target.container).await.contains(warning).then_some(())
        })
        .await;
    };
    assert_warned().await;
    send_request(&client, "PATCH", &status, &address).await.unwrap();
    assert_warned().await;
    for container in [&other.container, &container_id()] {
        let output = warnings_on(container).await;
        assert!(!output.contains("already"), "{output}");
    }
    // A user is not warned of their own session.
    let dry_run = format!("{}?dryRun=All", job_path(&home.name, ""));
    let (headers, _) =
        post_with_warnings(&alice, &dry_run, &targeted_job(&target.container, &node)).await;
    assert_eq!(headers, Vec::<String>::new());

    // The agent is created nevertheless, and an Event records the shared target.
    let second = targeted_job(&target.container, &node);
    let (headers, stored) = post_with_warnings(&client, &job_path(&home.name, ""), &second).await;
    assert_eq!(name_of(&stored), name_of(&second));
    assert!(headers.len() == 1 && headers[0].contains("another user already"), "{headers:?}");
    wait_for_sessions(&shop, 2).await;
    let event_note = wait_for_event(&shop, "TargetShared").await;
    assert!(
        event_note.contains("on deployment/web") && !event_note.contains("beside-a"),
        "{event_note}"
    );

    // An ephemeral agent in the target's Pod causes the same warning.
    let path = pod(&target.pod);
    let mut object = send_request(&client, "GET", &path, &Value::Null).await.unwrap();
    object["spec"]["ephemeralContainers"] = json!([ephemeral_container("main")]);
    let path = format!("{path}/ephemeralcontainers?dryRun=All");
    let (headers, _) = send_with_warnings(&client, "PUT", &path, &object).await;
    assert!(headers.len() == 1 && headers[0].contains("another user already"), "{headers:?}");
}

/// Posts an object and returns the warning headers and the stored object.
async fn post_with_warnings(client: &Client, path: &str, object: &Value) -> (Vec<String>, Value) {
    send_with_warnings(client, "POST", path, object).await
}

async fn send_with_warnings(
    client: &Client,
    method: &str,
    path: &str,
    object: &Value,
) -> (Vec<String>, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(object.to_string().into_bytes()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    let headers = response.headers().get_all("warning").iter();
    let headers = headers.map(|value| value.to_str().unwrap().to_owned()).collect();
    let body = response.into_body().collect_bytes().await.unwrap();
    (headers, serde_json::from_slice(&body).unwrap())
}

/// Measures the latency that the target lookup adds to the creation of a Job.
#[tokio::test]
async fn target_lookup_adds_little_latency() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let shop = create_namespace(cluster, "beside-cost").await;
    let node = create_node(&client, "beside-2").await;
    let target = create_deployment(&client, &shop.name, "web", &node).await;
    let carol = developer_client(cluster, "beside-c@example.com", &[&shop.name]).await;
    start_agent(&carol, &shop.name, &targeted_job(&target.container, &node)).await;
    wait_for_session(&shop).await;
    let path = format!("{}?dryRun=All", job_path(&shop.name, ""));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..25 {
        for (times, job) in
            times.iter_mut().zip([targetless_job(), targeted_job(&target.container, &node)])
        {
            let start = Instant::now();
            send_request(&client, "POST", &path, &job).await.unwrap();
            times.push(start.elapsed());
        }
    }
    let [without, with] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!(
        "median latency to create a Job: {without:?} without a target, {with:?} with a target"
    );
    // Generous bound for a busy machine.
    assert!(with < without + Duration::from_millis(500), "{with:?}");
}
