//! Benchmark of lists and watches of trackers through the aggregator.
//!
//! Compares lists of trackers with the API server's lists of as many Sessions, and measures a
//! thousand open watches while a hundred Sessions a second change. Only ratios within a run are
//! comparable.
//!
//! Run `cargo bench --package mirrord-sessions-tests --bench cluster`. `SESSIONS` sets the number
//! of Sessions (default 10,000).
#![allow(clippy::unwrap_used, missing_docs)]
// Counts and durations are only printed.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use mirrord_sessions_crds::{Session, SessionSpec, SessionTracker};
use mirrord_sessions_tests::{
    cluster::{Cluster, Programs},
    control_plane::ControlPlane,
};
use serde_json::json;

const ROUNDS: usize = 9;
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const WATCHES: usize = 1000;
const CHANGES: usize = 1000;
const CHANGE_INTERVAL: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() {
    let sessions = std::env::var("SESSIONS").ok();
    let sessions = sessions.map_or(10_000, |count| count.parse().unwrap());
    let programs = Programs::build_optimized().unwrap();
    let cluster = Cluster::install(ControlPlane::start().unwrap(), programs).await.unwrap();
    let client = cluster.plane.client("bench", &["system:masters"]).await.unwrap();
    let start = Instant::now();
    create_sessions(&client, sessions).await;
    let rate = sessions as f64 / start.elapsed().as_secs_f64();
    println!("created {sessions} Sessions, {rate:.0} a second");
    measure_lists(&client, sessions).await;
    measure_watches(&cluster, &client).await;
}

fn session(index: usize) -> Session {
    let spec = SessionSpec {
        target: format!("deployment/ip-visit-counter-{}", index % 100),
        key: Some("avi".into()),
        ..SessionSpec::default()
    };
    Session::new(&format!("{index:016x}"), spec)
}

async fn create_sessions(client: &Client, sessions: usize) {
    let api: Api<Session> = Api::namespaced(client.clone(), "default");
    stream::iter(0..sessions)
        .for_each_concurrent(16, |index| {
            let api = &api;
            async move {
                api.create(&PostParams::default(), &session(index)).await.unwrap();
            }
        })
        .await;
    let trackers = "/apis/visibility.operator.metalbear.co/v1/sessiontrackers";
    while get(client, trackers, "application/json").await.matches("\"sessionId\"").count()
        < sessions
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn get(client: &Client, path: &str, accept: &str) -> String {
    let request = http::Request::get(path).header("accept", accept);
    client.request_text(request.body(Vec::new()).unwrap()).await.unwrap()
}

async fn measure_lists(client: &Client, sessions: usize) {
    let sessions_path = "/apis/operator.metalbear.co/v1/sessions";
    let trackers = "/apis/visibility.operator.metalbear.co/v1/sessiontrackers";
    let selected =
        format!("{trackers}?fieldSelector=spec.target%3Ddeployment%2Fip-visit-counter-7");
    for (form, accept) in [("JSON", "application/json"), ("Table", TABLE)] {
        let mut times: HashMap<&str, Vec<f64>> = HashMap::new();
        let mut sizes: HashMap<&str, usize> = HashMap::new();
        // Interleaved, so that other load affects all of them alike.
        for _ in 0..ROUNDS {
            for (name, path) in [
                ("sessions", sessions_path),
                ("trackers", trackers),
                ("one in a hundred", &selected),
            ] {
                let start = Instant::now();
                let response = get(client, path, accept).await;
                times.entry(name).or_default().push(start.elapsed().as_secs_f64());
                sizes.insert(name, response.len());
            }
        }
        let base = median(&mut times.get_mut("sessions").unwrap().clone());
        for name in ["sessions", "trackers", "one in a hundred"] {
            let median = median(times.get_mut(name).unwrap());
            println!(
                "{form} of {sessions}: {name}: {:.0} ms, {:.1} MB, ratio to sessions {:.2}",
                median * 1e3,
                sizes[name] as f64 / 1e6,
                median / base
            );
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures the delay between each change of a Session and its event on each watch.
async fn measure_watches(cluster: &Cluster, client: &Client) {
    let changed: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let delays: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut tasks = Vec::new();
    let (opened, mut opening) = tokio::sync::mpsc::unbounded_channel();
    for group in 0..10 {
        let user = format!("watcher-{group}");
        let client = cluster.plane.client(&user, &["system:masters"]).await;
        let client = client.unwrap();
        for _ in 0..WATCHES / 10 {
            let api: Api<SessionTracker> = Api::all(client.clone());
            let (changed, delays) = (Arc::clone(&changed), Arc::clone(&delays));
            let opened = opened.clone();
            tasks.push(tokio::spawn(async move {
                let params =
                    WatchParams::default().fields("metadata.namespace=default").labels("bench");
                let mut events = api.watch(&params, "").await.unwrap().boxed();
                opened.send(()).unwrap();
                let mut seen = 0;
                while let Some(event) = events.try_next().await.unwrap() {
                    let (WatchEvent::Added(tracker) | WatchEvent::Modified(tracker)) = event else {
                        continue;
                    };
                    let version = &tracker.metadata.labels.unwrap()["bench"];
                    let at = loop {
                        if let Some(at) = changed.lock().unwrap().get(version) {
                            break *at;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    };
                    delays.lock().unwrap().push(at.elapsed());
                    seen += 1;
                    if seen == CHANGES {
                        break;
                    }
                }
            }));
        }
    }
    for _ in 0..WATCHES {
        opening.recv().await;
    }
    let api: Api<Session> = Api::namespaced(client.clone(), "default");
    let start = Instant::now();
    let mut interval = tokio::time::interval(CHANGE_INTERVAL);
    for change in 0..CHANGES {
        interval.tick().await;
        let name = format!("{:016x}", change % 500);
        let patch = json!({ "metadata": { "labels": { "bench": format!("v{change}") } } });
        // Measured from the request, since an event can arrive before the response.
        changed.lock().unwrap().insert(format!("v{change}"), Instant::now());
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    let rate = CHANGES as f64 / start.elapsed().as_secs_f64();
    for task in tasks {
        task.await.unwrap();
    }
    let mut delays: Vec<f64> = delays.lock().unwrap().iter().map(Duration::as_secs_f64).collect();
    delays.sort_by(f64::total_cmp);
    let percentile = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize] * 1e3;
    println!(
        "{WATCHES} watches, {rate:.0} changes a second: {} events, median {:.0} ms after the request, 99 % within {:.0} ms",
        delays.len(),
        percentile(0.5),
        percentile(0.99)
    );
    if let Some(resident) = resident_memory(cluster.webhook.id()) {
        println!("webhook: {:.0} MB resident", resident as f64 / 1e6);
    }
}

fn resident_memory(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}
