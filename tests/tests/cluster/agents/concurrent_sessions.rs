//! Two on one target are told of each other.

use std::time::{Duration, Instant};

use http::Request;
use kube::{Client, client::Body};
use mirrord_sessions_tests::{
    agents::{container_id, ephemeral, jobs, send, targeted, targetless},
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
    let on = |target: &str| {
        let mut session = session_manifest("ignored", json!({ "target": target }));
        session["metadata"] = json!({ "generateName": "s-" });
        session.to_string()
    };
    let first = alice.kubectl(&["create", "-f", "-"], &on("deployment/web")).await;
    assert!(first.status.success() && !first.stderr.contains("already"), "{first:?}");
    let warning = "Warning: neighbour-a already has a session on deployment/web";
    eventually("bob is told of alice", || async {
        let second = bob.kubectl(&["create", "-f", "-"], &on("deployment/web/container/api")).await;
        assert!(second.status.success(), "{second:?}");
        second.stderr.contains(warning).then_some(())
    })
    .await;
    for target in ["deployment/webs", "targetless"] {
        let other = bob.kubectl(&["create", "-f", "-"], &on(target)).await;
        assert!(other.status.success() && !other.stderr.contains("already"), "{other:?}");
    }

    // What the user says an agent targets counts where it can't be found out.
    let mut agent = targetless();
    agent["metadata"]["annotations"]["operator.metalbear.co/target"] = json!("deployment/web");
    let output = tried(cluster, &shop.name, &agent).await;
    assert!(output.contains("neighbour-a"), "{output}");
}

/// What kubectl prints where an agent's Job is only tried.
pub(super) async fn tried(cluster: &Cluster, namespace: &str, agent: &Value) -> String {
    let admin = cluster.plane.admin().path();
    let create = ["create", "-n", namespace, "--dry-run=server", "-f", "-"];
    let output =
        cluster.plane.kubectl_with_input(admin, &create, &agent.to_string()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stderr
}

/// Plain mirrord says nothing of its target but a container and a node.
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
    let job = targeted(&target.container, &node);
    start_agent(&alice, &home.name, &job).await;
    wait_for_session(&shop).await;
    assert!(event_notes(&shop, "TargetShared").await.is_empty());

    // Pods can be selected by the address that the agent is told, or by none of it.
    let warning = "Warning: beside-a@example.com already has a session on deployment/web";
    let on = async |container: &str| {
        let agent = targeted(container, &node);
        tried(cluster, &home.name, &agent).await
    };
    let told = async || {
        eventually("admin is told of alice", || async {
            on(&target.container).await.contains(warning).then_some(())
        })
        .await;
    };
    told().await;
    send(&client, "PATCH", &status, &address).await.unwrap();
    told().await;
    for nothing in [&other.container, &container_id()] {
        let output = on(nothing).await;
        assert!(!output.contains("already"), "{output}");
    }
    // Whoever has a session there already isn't told of it.
    let mine = format!("{}?dryRun=All", jobs(&home.name, ""));
    let (headers, _) = warnings(&alice, &mine, &targeted(&target.container, &node)).await;
    assert_eq!(headers, Vec::<String>::new());

    // It runs nevertheless, and whoever looks sees that it isn't alone.
    let second = targeted(&target.container, &node);
    let (headers, stored) = warnings(&client, &jobs(&home.name, ""), &second).await;
    assert_eq!(name_of(&stored), name_of(&second));
    assert!(
        headers.len() == 1 && headers[0].contains("beside-a@example.com already"),
        "{headers:?}"
    );
    wait_for_sessions(&shop, 2).await;
    let told = wait_for_event(&shop, "TargetShared").await;
    assert!(told.contains("on deployment/web") && !told.contains("beside-a"), "{told}");

    // The same of an agent that is added to the target's Pod.
    let path = pod(&target.pod);
    let mut whole = send(&client, "GET", &path, &Value::Null).await.unwrap();
    whole["spec"]["ephemeralContainers"] = json!([ephemeral("main")]);
    let path = format!("{path}/ephemeralcontainers?dryRun=All");
    let (headers, _) = warnings_of(&client, "PUT", &path, &whole).await;
    assert!(
        headers.len() == 1 && headers[0].contains("beside-a@example.com already"),
        "{headers:?}"
    );
}

/// The warnings that an API client gets for a new object, and what is stored.
async fn warnings(client: &Client, path: &str, object: &Value) -> (Vec<String>, Value) {
    warnings_of(client, "POST", path, object).await
}

async fn warnings_of(
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
    let answer = client.send(request).await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let headers = answer.headers().get_all("warning").iter();
    let headers = headers.map(|it| it.to_str().unwrap().to_owned()).collect();
    let body = answer.into_body().collect_bytes().await.unwrap();
    (headers, serde_json::from_slice(&body).unwrap())
}

/// How much longer a run takes to start for being told.
#[tokio::test]
async fn target_lookup_adds_little_latency() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let shop = create_namespace(cluster, "beside-cost").await;
    let node = create_node(&client, "beside-2").await;
    let target = create_deployment(&client, &shop.name, "web", &node).await;
    let carol = developer_client(cluster, "beside-c@example.com", &[&shop.name]).await;
    start_agent(&carol, &shop.name, &targeted(&target.container, &node)).await;
    wait_for_session(&shop).await;
    let path = format!("{}?dryRun=All", jobs(&shop.name, ""));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..25 {
        for (times, job) in times.iter_mut().zip([targetless(), targeted(&target.container, &node)])
        {
            let start = Instant::now();
            send(&client, "POST", &path, &job).await.unwrap();
            times.push(start.elapsed());
        }
    }
    let [without, with] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("a Job is created in {without:?}; in {with:?} where its target is looked for");
    // What a webhook may add at all, on a machine that is busy.
    assert!(with < without + Duration::from_millis(500), "{with:?}");
}
