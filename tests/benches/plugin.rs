//! Benchmark of the plugin's `list` against `kubectl get`: duration and peak memory of the
//! processes.
//!
//! Each lists no sessions, a thousand and many thousand, first as trackers and then as Sessions.
//! Only ratios within a run are comparable. Requires Linux.
//!
//! Run `cargo bench --package mirrord-sessions-tests --bench plugin`. `SESSIONS` sets the largest
//! number of sessions (default 15,000) and `ROUNDS` the number of runs (default 9). `WEBHOOK` and
//! `PLUGIN` name executables to use instead of new builds.
#![allow(clippy::unwrap_used, missing_docs)]
// Counts and durations are only printed.
#![allow(clippy::cast_precision_loss)]

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use kube::{Api, Client, api::PostParams};
use mirrord_sessions_crds::{Client as SessionClient, Session, SessionSpec};
use mirrord_sessions_tests::{
    cluster::{Cluster, Programs},
    control_plane::ControlPlane,
};
use serde_json::Value;

/// Target ratio to kubectl's duration without sessions.
const TARGET_WITHOUT_SESSIONS: f64 = 0.5;
/// Target ratio to kubectl's duration with many thousand sessions.
const TARGET_WITH_MANY_SESSIONS: f64 = 0.2;
const FIRST_ROW_TARGET: Duration = Duration::from_millis(100);
const BINARY_SIZE_TARGET: u64 = 10_000_000;

#[tokio::main]
async fn main() {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(value) => value.parse().unwrap(),
        Err(_) => default,
    };
    let (many, rounds) = (number("SESSIONS", 15_000), number("ROUNDS", 9));
    let programs = match (std::env::var_os("WEBHOOK"), std::env::var_os("PLUGIN")) {
        (Some(webhook), Some(plugin)) => {
            Programs { webhook: webhook.into(), plugin: plugin.into() }
        }
        _ => Programs::build_distributed().unwrap(),
    };
    let plugin = programs.plugin.clone();
    let size = std::fs::metadata(&plugin).unwrap().len();
    println!("plugin binary: {:.1} MB{}", size as f64 / 1e6, missed(size > BINARY_SIZE_TARGET));
    let cluster = Cluster::install(ControlPlane::start().unwrap(), programs).await.unwrap();
    let client = cluster.plane.client("bench", &["system:masters"]).await.unwrap();
    let sizes = [("none", 0), ("some", 1000), ("many", many)];
    let api: Api<Session> = Api::namespaced(client.clone(), "default");
    let model = api.create(&PostParams::default(), &session(0)).await;
    let model = model.unwrap().spec;
    // The others copy the stamps of this Session, so that creating them needs no webhook.
    cluster.delete_webhook_configuration().await.unwrap();
    for (namespace, sessions) in sizes {
        let create = ["create", "namespace", namespace];
        cluster.admin(&create, "").await.unwrap();
        create_sessions(&client, &model, namespace, sessions).await;
    }
    wait_for_trackers(&client, "many", many).await;
    let bench = Bench { cluster: &cluster, plugin, rounds };
    for (namespace, sessions) in sizes {
        bench.compare("sessiontrackers", namespace, sessions);
    }
    let service = "v1.visibility.operator.metalbear.co";
    let delete = ["delete", "apiservice", service];
    cluster.admin(&delete, "").await.unwrap();
    for (namespace, sessions) in sizes {
        bench.compare("sessions", namespace, sessions);
    }
}

struct Bench<'a> {
    cluster: &'a Cluster,
    plugin: PathBuf,
    rounds: usize,
}

/// Measurements of a program.
#[derive(Default)]
struct Measurements {
    seconds: Vec<f64>,
    first_row: Vec<f64>,
    /// Peak resident memory in bytes.
    peak: u64,
}

impl Bench<'_> {
    fn compare(&self, resource: &str, namespace: &str, sessions: usize) {
        let kubeconfig = self.cluster.plane.admin().path();
        let kubectl = || {
            let mut command = self.cluster.plane.kubectl_command(kubeconfig);
            command.args(["get", resource, "--namespace", namespace]);
            command
        };
        let plugin = || {
            let mut command = Command::new(&self.plugin);
            command.env("KUBECONFIG", kubeconfig);
            command.args(["list", "--namespace", namespace]);
            command
        };
        let programs: [&dyn Fn() -> Command; 2] = [&plugin, &kubectl];
        let mut measured = [Measurements::default(), Measurements::default()];
        // Interleaved, so that other load affects both alike. The first round warms up caches.
        for round in 0..=self.rounds {
            for (program, measured) in programs.iter().zip(&mut measured) {
                let Timing { first_row, total, lines } = time(program());
                // The header is a line too, and is printed with the first row.
                let expected = if sessions == 0 { 0 } else { sessions + 1 };
                assert_eq!(lines, expected, "{resource} in {namespace}");
                if round > 0 {
                    measured.seconds.push(total.as_secs_f64());
                    measured.first_row.push(first_row.as_secs_f64());
                }
            }
        }
        for (program, measured) in programs.iter().zip(&mut measured) {
            measured.peak = (0..3).map(|_| peak_memory(program())).max().unwrap();
        }
        let [plugin, kubectl] = &mut measured;
        let (plugin_time, kubectl_time) =
            (median(&mut plugin.seconds), median(&mut kubectl.seconds));
        let ratio = plugin_time / kubectl_time;
        let target = match sessions {
            0 => Some(TARGET_WITHOUT_SESSIONS),
            1000 => None,
            _ => Some(TARGET_WITH_MANY_SESSIONS),
        };
        println!(
            "{resource}, {sessions}: plugin {:.0} ms, kubectl {:.0} ms, ratio {ratio:.2}{}; peak {:.0} MB, {:.0} MB, ratio {:.2}",
            plugin_time * 1e3,
            kubectl_time * 1e3,
            missed(target.is_some_and(|target| ratio > target)),
            plugin.peak as f64 / 1e6,
            kubectl.peak as f64 / 1e6,
            plugin.peak as f64 / kubectl.peak as f64,
        );
        if sessions > 0 {
            let (plugin_row, kubectl_row) =
                (median(&mut plugin.first_row), median(&mut kubectl.first_row));
            println!(
                "    first row after {:.0} ms{}, kubectl's after {:.0} ms",
                plugin_row * 1e3,
                missed(sessions > 1000 && plugin_row > FIRST_ROW_TARGET.as_secs_f64()),
                kubectl_row * 1e3,
            );
        }
        std::io::stdout().flush().unwrap();
    }
}

fn missed(is_missed: bool) -> &'static str {
    if is_missed { " (misses the target)" } else { "" }
}

/// Durations until the first output and until the exit of a process, and its lines of output.
struct Timing {
    first_row: Duration,
    total: Duration,
    lines: usize,
}

fn time(mut command: Command) -> Timing {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut first, mut lines) = (None, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = out.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        first.get_or_insert_with(|| start.elapsed());
        lines += buffer[..read].split(|byte| *byte == b'\n').count() - 1;
    }
    assert!(child.wait().unwrap().success());
    let total = start.elapsed();
    Timing { first_row: first.unwrap_or(total), total, lines }
}

/// Returns the peak memory of a process by polling it.
///
/// Polling costs time, so this takes a run of its own. The peak never decreases, so only growth
/// since the last poll is missed.
fn peak_memory(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_micros(500));
    }
    peak
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn session(index: usize) -> Session {
    let spec = SessionSpec {
        target: format!("deployment/ip-visit-counter-{}", index % 100),
        client: Some(SessionClient {
            username: Some("Aviram Hassan".into()),
            hostname: Some("avirams-macbook-pro-2.local".into()),
            version: Some("3.250.0".into()),
        }),
        key: Some("avi".into()),
        ..SessionSpec::default()
    };
    Session::new(&format!("{index:016x}"), spec)
}

async fn create_sessions(client: &Client, model: &SessionSpec, namespace: &str, sessions: usize) {
    let api: Api<Session> = Api::namespaced(client.clone(), namespace);
    stream::iter(0..sessions)
        .for_each_concurrent(16, |index| {
            let api = &api;
            let mut session = session(index);
            session.spec = SessionSpec { target: session.spec.target, ..model.clone() };
            async move {
                api.create(&PostParams::default(), &session).await.unwrap();
            }
        })
        .await;
}

/// Waits until the webhook serves the trackers of all Sessions.
async fn wait_for_trackers(client: &Client, namespace: &str, sessions: usize) {
    let path =
        format!("/apis/visibility.operator.metalbear.co/v1/namespaces/{namespace}/sessiontrackers");
    loop {
        let request = http::Request::get(&path).body(Vec::new()).unwrap();
        let list: Value = client.request(request).await.unwrap();
        if list["items"].as_array().unwrap().len() == sessions {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
