//! Many runs at once, and what each costs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use http::Request;
use kube::Client;
use mirrord_sessions_tests::{
    agents::{jobs, send, targeted, targetless},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, wait_for_guard, wait_for_sessions,
};
use crate::support::{Namespace, create_namespace, eventually, is_leader, name_of, poll};

/// The agents of one burst.
const MANY: usize = 500;
/// For what takes longer than other tests wait, on a machine that is busy.
const LOAD_TIMEOUT: Duration = Duration::from_mins(5);

pub(super) async fn eventually_under_load<T, F>(condition: &str, probe: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    poll(Duration::from_millis(200), LOAD_TIMEOUT, condition, probe).await
}

async fn list(client: &Client, namespace: &str) -> Option<Vec<Value>> {
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{namespace}/sessions");
    let list = send(client, "GET", &path, &Value::Null).await.ok()?;
    Some(list["items"].as_array()?.clone())
}

#[tokio::test]
async fn records_every_run_through_crashes() {
    let cluster = Cluster::start().await.unwrap();
    let second = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    eventually("one of them leads", || async {
        (is_leader(&cluster.webhook) || is_leader(&second)).then_some(())
    })
    .await;
    let (leader, other) =
        if is_leader(&second) { (&second, &cluster.webhook) } else { (&cluster.webhook, &second) };
    // Admission goes to the one that stays.
    cluster.route_to(other).await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "many").await;
    let all = jobs(&home.name, "");
    // Every other one has a target.
    let node = create_node(&client, "many-1").await;
    let target = create_deployment(&client, &home.name, "web", &node).await;
    let begin = Instant::now();
    let started = stream::iter(0..MANY)
        .map(|n| {
            let job = if n % 2 == 0 { targeted(&target.container, &node) } else { targetless() };
            let (client, all) = (&client, &all);
            async move {
                let start = Instant::now();
                loop {
                    match send(client, "POST", all, &job).await {
                        Ok(_) => return start.elapsed(),
                        // An answer may have been lost with the API server.
                        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                            return start.elapsed();
                        }
                        Err(error) => assert!(start.elapsed() < LOAD_TIMEOUT, "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        })
        .buffer_unordered(16)
        .collect::<Vec<Duration>>();
    let started = async {
        let mut each = started.await;
        each.sort();
        println!(
            "{MANY} agents started in {:?}, half of them in {:?} each, the slowest in {:?}",
            begin.elapsed(),
            each[MANY / 2],
            each[MANY - 1]
        );
    };
    let faults = async {
        let recorded = |count: usize| {
            let (client, name) = (&client, &home.name);
            async move {
                eventually_under_load("some are recorded", || async {
                    (list(client, name).await?.len() >= count).then_some(())
                })
                .await;
            }
        };
        recorded(MANY / 5).await;
        leader.kill().unwrap();
        recorded(MANY * 2 / 5).await;
        cluster.plane.start_apiserver().unwrap();
    };
    tokio::join!(started, faults);
    let sessions = eventually_under_load("all are recorded", || async {
        let sessions = list(&client, &home.name).await?;
        let full = |session: &&Value| session["status"]["state"] == "running";
        (sessions.iter().filter(full).count() >= MANY).then_some(sessions)
    })
    .await;
    assert_eq!(sessions.len(), MANY, "none twice");
    let of = |session: &Value| session["status"]["agent"]["uid"].as_str().unwrap().to_owned();
    let agents: BTreeSet<String> = sessions.iter().map(of).collect();
    assert_eq!(agents.len(), MANY, "each for another agent");
    let with_target = |session: &&Value| session["spec"]["target"] == "deployment/web";
    assert_eq!(sessions.iter().filter(with_target).count(), MANY / 2);
    println!("all recorded after {:?}", begin.elapsed());
    eventually_under_load("all are tied", || async {
        let jobs = send(&client, "GET", &all, &Value::Null).await.ok()?;
        let jobs = jobs["items"].as_array()?;
        let tied = |job: &&Value| {
            let annotations = &job["metadata"]["annotations"];
            annotations.get("operator.metalbear.co/session").is_some()
        };
        (jobs.iter().filter(tied).count() == MANY).then_some(())
    })
    .await;

    // And they all end.
    let end = format!("{all}?propagationPolicy=Background");
    send(&client, "DELETE", &end, &json!({})).await.unwrap();
    eventually_under_load("all are closed", || async {
        list(&client, &home.name).await?.is_empty().then_some(())
    })
    .await;
}

/// Requests that the API server answered, by verb, resource and subresource.
pub(super) async fn requests(client: &Client) -> BTreeMap<String, u64> {
    let request = Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    let mut requests = BTreeMap::new();
    for line in text.lines() {
        let Some((labels, count)) =
            line.strip_prefix("apiserver_request_total{").and_then(|line| line.split_once("} "))
        else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0)
        };
        let Some((verb, resource, subresource)) = label("verb")
            .zip(label("resource"))
            .zip(label("subresource"))
            .map(|((verb, resource), subresource)| (verb, resource, subresource))
        else {
            continue;
        };
        let key = format!("{verb} {resource}/{subresource} {}", label("group").unwrap_or_default());
        *requests.entry(key).or_default() += count.parse::<u64>().unwrap();
    }
    requests
}

/// Runs through the lives of some agents, and counts what was written.
async fn lives(client: &Client, home: &Namespace<'_>, count: usize) -> BTreeMap<String, u64> {
    let before = requests(client).await;
    let all = jobs(&home.name, "");
    for _ in 0..count {
        send(client, "POST", &all, &targetless()).await.unwrap();
    }
    for session in wait_for_sessions(home, count).await {
        let agent = session["status"]["agent"]["name"].as_str().unwrap();
        super::fixtures::wait_for_binding(client, &home.name, agent).await;
    }
    for job in send(client, "GET", &all, &Value::Null).await.unwrap()["items"].as_array().unwrap() {
        let path = format!("{}?propagationPolicy=Background", jobs(&home.name, name_of(job)));
        send(client, "DELETE", &path, &Value::Null).await.unwrap();
    }
    eventually("all are closed", || async {
        let notes = super::fixtures::event_notes(home, "SessionEnded").await;
        (notes.len() >= count).then_some(())
    })
    .await;
    let after = requests(client).await;
    after
        .into_iter()
        .map(|(key, value)| (key.clone(), value - before.get(&key).copied().unwrap_or_default()))
        .filter(|(_, value)| *value > 0)
        .collect()
}

/// Five writes: the Session, its status, the tie, the Session's end, and the Event that tells of
/// it.
#[tokio::test]
async fn run_costs_five_writes() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    for count in [5, 20] {
        let home = create_namespace(&cluster, "writes").await;
        let writes = lives(&client, &home, count).await;
        let of = |key: &str| writes.get(key).copied().unwrap_or_default();
        let count = count as u64;
        for write in [
            "POST sessions/ operator.metalbear.co",
            "PATCH sessions/status operator.metalbear.co",
            "PATCH jobs/ batch",
            "DELETE sessions/ operator.metalbear.co",
            "POST events/ events.k8s.io",
        ] {
            assert_eq!(of(write), count, "{write}: {writes:#?}");
        }
        // And no others of ours: Jobs are deleted by this test, everything else by Kubernetes.
        let ours = |key: &&String| {
            let verb = key.split(' ').next().unwrap_or_default();
            key.contains("operator.metalbear.co")
                && matches!(
                    verb,
                    "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION"
                )
        };
        assert_eq!(writes.keys().filter(ours).count(), 3, "{writes:#?}");
    }
}
