//! The plugin beside kubectl, process by process: how long each takes and how much memory, where
//! there is nothing to list, and where there are a thousand and many thousand sessions; through
//! trackers and from the Sessions themselves. Ratios of one run matter, not figures.
//!
//! `cargo bench --package mirrord-sessions-tests --bench plugin`; `SESSIONS` says how many the many
//! are, 15,000 without it, and `ROUNDS` how often each is run, 9 times without it. `WEBHOOK` and
//! `PLUGIN` name programs to take instead of those that are built here. Linux alone.
#![allow(clippy::unwrap_used, missing_docs)]
// Counts and milliseconds, to be read.
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

/// What the issue of a plugin that is quick asks for, of kubectl's time.
const AIM_AT_NONE: f64 = 0.5;
const AIM_AT_MANY: f64 = 0.2;
const FIRST_ROW: Duration = Duration::from_millis(100);
const LARGEST_BINARY: u64 = 10_000_000;

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
    println!("the plugin's binary: {:.1} MB{}", size as f64 / 1e6, missed(size > LARGEST_BINARY));
    let cluster = Cluster::install(ControlPlane::start().unwrap(), programs).await.unwrap();
    let client = cluster.plane.client("bench", &["system:masters"]).await.unwrap();
    let sizes = [("none", 0), ("some", 1000), ("many", many)];
    let api: Api<Session> = Api::namespaced(client.clone(), "default");
    let model = api.create(&PostParams::default(), &session(0)).await;
    let model = model.unwrap().spec;
    // The others are stamped as this one was, and need not ask the webhook.
    cluster.delete_webhook_configuration().await.unwrap();
    for (namespace, sessions) in sizes {
        let create = ["create", "namespace", namespace];
        cluster.admin(&create, "").await.unwrap();
        fill(&client, &model, namespace, sessions).await;
    }
    until_tracked(&client, "many", many).await;
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

/// What was measured of a program.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    first_row: Vec<f64>,
    /// In bytes.
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
        let mut measured = [Measured::default(), Measured::default()];
        // In turns, so that whatever else goes on is borne by both; the first round warms caches
        // up.
        for round in 0..=self.rounds {
            for (program, measured) in programs.iter().zip(&mut measured) {
                let (first_row, whole, lines) = timed(program());
                // The names of the columns come with the first row.
                let expected = if sessions == 0 { 0 } else { sessions + 1 };
                assert_eq!(lines, expected, "{resource} in {namespace}");
                if round > 0 {
                    measured.seconds.push(whole.as_secs_f64());
                    measured.first_row.push(first_row.as_secs_f64());
                }
            }
        }
        for (program, measured) in programs.iter().zip(&mut measured) {
            measured.peak = (0..3).map(|_| peak(program())).max().unwrap();
        }
        let [plugin, kubectl] = &mut measured;
        let (ours, theirs) = (median(&mut plugin.seconds), median(&mut kubectl.seconds));
        let ratio = ours / theirs;
        let aim = match sessions {
            0 => Some(AIM_AT_NONE),
            1000 => None,
            _ => Some(AIM_AT_MANY),
        };
        println!(
            "{resource}, {sessions}: plugin {:.0} ms, kubectl {:.0} ms, ratio {ratio:.2}{}; peak {:.0} MB, {:.0} MB, ratio {:.2}",
            ours * 1e3,
            theirs * 1e3,
            missed(aim.is_some_and(|aim| ratio > aim)),
            plugin.peak as f64 / 1e6,
            kubectl.peak as f64 / 1e6,
            plugin.peak as f64 / kubectl.peak as f64,
        );
        if sessions > 0 {
            let (ours, theirs) = (median(&mut plugin.first_row), median(&mut kubectl.first_row));
            println!(
                "    first row after {:.0} ms{}, kubectl's after {:.0} ms",
                ours * 1e3,
                missed(sessions > 1000 && ours > FIRST_ROW.as_secs_f64()),
                theirs * 1e3,
            );
        }
        std::io::stdout().flush().unwrap();
    }
}

fn missed(is_missed: bool) -> &'static str {
    if is_missed { " (misses the aim)" } else { "" }
}

/// When the first output was there, when the process had ended, and how many lines it put out.
fn timed(mut command: Command) -> (Duration, Duration, usize) {
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
    let whole = start.elapsed();
    (first.unwrap_or(whole), whole, lines)
}

/// The most memory that the process had: asked for again and again, in a run of its own, since
/// asking takes time too. It never falls, so little is missed at the end.
fn peak(mut command: Command) -> u64 {
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

fn session(at: usize) -> Session {
    let spec = SessionSpec {
        target: format!("deployment/ip-visit-counter-{}", at % 100),
        client: Some(SessionClient {
            username: Some("Aviram Hassan".into()),
            hostname: Some("avirams-macbook-pro-2.local".into()),
            version: Some("3.250.0".into()),
        }),
        key: Some("avi".into()),
        ..SessionSpec::default()
    };
    Session::new(&format!("{at:016x}"), spec)
}

async fn fill(client: &Client, model: &SessionSpec, namespace: &str, sessions: usize) {
    let api: Api<Session> = Api::namespaced(client.clone(), namespace);
    stream::iter(0..sessions)
        .for_each_concurrent(16, |at| {
            let api = &api;
            let mut session = session(at);
            session.spec = SessionSpec { target: session.spec.target, ..model.clone() };
            async move {
                api.create(&PostParams::default(), &session).await.unwrap();
            }
        })
        .await;
}

/// Waits until the trackers of all Sessions are served.
async fn until_tracked(client: &Client, namespace: &str, sessions: usize) {
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
