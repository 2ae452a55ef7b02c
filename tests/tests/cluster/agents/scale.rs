//! Many concurrent agents through crashes, and the number of writes for each agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use http::Request;
use kube::Client;
use mirrord_sessions_crds::WEBHOOK_NAME;
use mirrord_sessions_tests::{
    agents::{job_path, send_request, targeted_job, targetless_job},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, wait_for_guard, wait_for_sessions,
};
use crate::support::{
    Namespace, admin_json, create_namespace, eventually, is_leader, name_of, poll,
};

/// Number of agents in one burst.
const BURST: usize = 500;
/// Timeout for a burst of agents on a busy machine.
const LOAD_TIMEOUT: Duration = Duration::from_mins(5);

pub(super) async fn eventually_under_load<T, F>(condition: &str, probe: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    poll(Duration::from_millis(200), LOAD_TIMEOUT, condition, probe).await
}

async fn list(client: &Client, namespace: &str) -> Option<Vec<Value>> {
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{namespace}/sessions");
    let list = send_request(client, "GET", &path, &Value::Null).await.ok()?;
    Some(list["items"].as_array()?.clone())
}

#[tokio::test]
async fn records_every_run_through_crashes() {
    let cluster = Cluster::start().await.unwrap();
    let second = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    eventually("a replica leads", || async {
        (is_leader(&cluster.webhook) || is_leader(&second)).then_some(())
    })
    .await;
    let (leader, other) =
        if is_leader(&second) { (&second, &cluster.webhook) } else { (&cluster.webhook, &second) };
    // Admission requests go to the replica that is not killed.
    cluster.route_to(other).await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "many").await;
    let all = job_path(&home.name, "");
    // Half of the agents have a target.
    let node = create_node(&client, "many-1").await;
    let target = create_deployment(&client, &home.name, "web", &node).await;
    let begin = Instant::now();
    let started = stream::iter(0..BURST)
        .map(|n| {
            let job =
                if n % 2 == 0 { targeted_job(&target.container, &node) } else { targetless_job() };
            let (client, all) = (&client, &all);
            async move {
                let start = Instant::now();
                loop {
                    match send_request(client, "POST", all, &job).await {
                        Ok(_) => return start.elapsed(),
                        // The response to an earlier attempt may be lost when the API server
                        // restarts.
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
            "created {BURST} agents in {:?}: median {:?}, maximum {:?}",
            begin.elapsed(),
            each[BURST / 2],
            each[BURST - 1]
        );
    };
    let faults = async {
        let wait_for_recorded = |count: usize| {
            let (client, name) = (&client, &home.name);
            async move {
                eventually_under_load("some agents are recorded", || async {
                    (list(client, name).await?.len() >= count).then_some(())
                })
                .await;
            }
        };
        wait_for_recorded(BURST / 5).await;
        leader.kill().unwrap();
        wait_for_recorded(BURST * 2 / 5).await;
        cluster.plane.start_apiserver().unwrap();
    };
    tokio::join!(started, faults);
    let sessions = eventually_under_load("all agents are recorded", || async {
        let sessions = list(&client, &home.name).await?;
        let has_agent = |session: &&Value| session["status"]["agent"].is_object();
        (sessions.iter().filter(has_agent).count() >= BURST).then_some(sessions)
    })
    .await;
    assert_eq!(sessions.len(), BURST, "an agent was recorded twice");
    let agent_uid =
        |session: &Value| session["status"]["agent"]["uid"].as_str().unwrap().to_owned();
    let agents: BTreeSet<String> = sessions.iter().map(agent_uid).collect();
    assert_eq!(agents.len(), BURST, "two Sessions share an agent");
    let with_target = |session: &&Value| session["spec"]["target"] == "deployment/web";
    assert_eq!(sessions.iter().filter(with_target).count(), BURST / 2);
    println!("recorded all agents after {:?}", begin.elapsed());
    eventually_under_load("all agents are bound", || async {
        let jobs = send_request(&client, "GET", &all, &Value::Null).await.ok()?;
        let jobs = jobs["items"].as_array()?;
        let is_bound = |job: &&Value| {
            let annotations = &job["metadata"]["annotations"];
            annotations.get("operator.metalbear.co/session").is_some()
        };
        (jobs.iter().filter(is_bound).count() == BURST).then_some(())
    })
    .await;

    // All agents end.
    let end = format!("{all}?propagationPolicy=Background");
    send_request(&client, "DELETE", &end, &json!({})).await.unwrap();
    eventually_under_load("all Sessions are deleted", || async {
        list(&client, &home.name).await?.is_empty().then_some(())
    })
    .await;
}

/// Returns the number of requests to the API server by verb, resource, subresource and group.
pub(super) async fn request_counts(client: &Client) -> BTreeMap<String, u64> {
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

/// Runs agents from creation to deletion, and returns the number of requests.
async fn count_requests_of_runs(
    client: &Client,
    home: &Namespace<'_>,
    count: usize,
) -> BTreeMap<String, u64> {
    let before = request_counts(client).await;
    let all = job_path(&home.name, "");
    for _ in 0..count {
        send_request(client, "POST", &all, &targetless_job()).await.unwrap();
    }
    for session in wait_for_sessions(home, count).await {
        let agent = session["status"]["agent"]["name"].as_str().unwrap();
        super::fixtures::wait_for_binding(client, &home.name, agent).await;
    }
    for job in
        send_request(client, "GET", &all, &Value::Null).await.unwrap()["items"].as_array().unwrap()
    {
        let path = format!("{}?propagationPolicy=Background", job_path(&home.name, name_of(job)));
        send_request(client, "DELETE", &path, &Value::Null).await.unwrap();
    }
    eventually("all Sessions are deleted", || async {
        let notes = super::fixtures::event_notes(home, "SessionEnded").await;
        (notes.len() >= count).then_some(())
    })
    .await;
    let after = request_counts(client).await;
    after
        .into_iter()
        .map(|(key, value)| (key.clone(), value - before.get(&key).copied().unwrap_or_default()))
        .filter(|(_, value)| *value > 0)
        .collect()
}

/// Checks that a run costs five writes: Session, status, binding, deletion of the Session, and
/// Event.
#[tokio::test]
async fn run_costs_five_writes() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    for count in [5, 20] {
        let home = create_namespace(&cluster, "writes").await;
        let writes = count_requests_of_runs(&client, &home, count).await;
        let count_of = |key: &str| writes.get(key).copied().unwrap_or_default();
        let count = count as u64;
        for write in [
            "POST sessions/ operator.metalbear.co",
            "PATCH sessions/status operator.metalbear.co",
            "PATCH jobs/ batch",
            "DELETE sessions/ operator.metalbear.co",
        ] {
            assert_eq!(count_of(write), count, "{write}: {writes:#?}");
        }
        // Kubernetes records Events about Jobs too.
        let reporter = format!("reportingComponent={WEBHOOK_NAME}");
        let events = ["get", "events", "-n", &home.name, "--field-selector", &reporter];
        let events = admin_json(&cluster, &[&events[..], &["-o", "json"]].concat()).await;
        assert_eq!(events["items"].as_array().unwrap().len() as u64, count, "{events:#}");
        // The test deletes the Jobs, and all other writes come from Kubernetes.
        let is_session_write = |key: &&String| {
            let verb = key.split(' ').next().unwrap_or_default();
            key.contains("operator.metalbear.co")
                && matches!(
                    verb,
                    "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION"
                )
        };
        assert_eq!(writes.keys().filter(is_session_write).count(), 3, "{writes:#?}");
    }
}
