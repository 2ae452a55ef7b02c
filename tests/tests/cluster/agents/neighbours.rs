//! Two on one target are told of each other.

use std::time::{Duration, Instant};

use http::Request;
use kube::{Client, client::Body};
use mirrord_sessions_tests::{
    agents::{container_id, ephemeral, jobs, send, targeted, targetless},
    cluster::Cluster,
};
use serde_json::{Value, json};

use super::stage::{
    admin, deployment, developer, event, guarded, name_of, node, notes, session, sessions, start,
};
use crate::support::{eventually, namespace, session as manifest, shared};

#[tokio::test]
async fn who_starts_a_run_is_told_who_is_on_the_target() {
    let cluster = shared();
    let shop = namespace(cluster, "neighbours").await;
    let (alice, bob) = (shop.person("neighbour-a", &[]), shop.person("neighbour-b", &[]));
    for person in [&alice, &bob] {
        shop.bind("mirrord-operator-user", &person.name).await;
    }
    let on = |target: &str| {
        let mut session = manifest("ignored", json!({ "target": target }));
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
async fn who_starts_a_plain_run_is_told_who_is_on_the_target() {
    let cluster = shared();
    guarded(cluster).await;
    let client = admin(cluster).await;
    let (home, shop) =
        (namespace(cluster, "beside-home").await, namespace(cluster, "beside-shop").await);
    let node = node(&client, "beside-1").await;
    let target = deployment(&client, &shop.name, "web", &node).await;
    let other = deployment(&client, &shop.name, "other", &node).await;
    let address = json!({ "status": { "podIP": "10.1.0.10", "podIPs": [{ "ip": "10.1.0.10" }] } });
    let pod = |name: &str| format!("/api/v1/namespaces/{}/pods/{name}", shop.name);
    let status = format!("{}/status", pod(&target.pod));
    let alice = developer(cluster, "beside-a@example.com", &[&home.name]).await;
    let job = targeted(&target.container, &node);
    start(&alice, &home.name, &job).await;
    session(&shop).await;
    assert!(notes(&shop, "TargetShared").await.is_empty());

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
    sessions(&shop, 2).await;
    let told = event(&shop, "TargetShared").await;
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
async fn looking_for_a_target_costs_little() {
    let cluster = shared();
    guarded(cluster).await;
    let client = admin(cluster).await;
    let shop = namespace(cluster, "beside-cost").await;
    let node = node(&client, "beside-2").await;
    let target = deployment(&client, &shop.name, "web", &node).await;
    let carol = developer(cluster, "beside-c@example.com", &[&shop.name]).await;
    start(&carol, &shop.name, &targeted(&target.container, &node)).await;
    session(&shop).await;
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
