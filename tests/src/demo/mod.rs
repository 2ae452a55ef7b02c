//! The demo: runs commands on a real control plane, prints their output and checks it.

mod agents;
mod output;
mod runner;
mod walkthrough;

use std::{pin::pin, process::ExitCode, time::Instant};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use crate::{
    cluster::{Cluster, DEBUG_ESTIMATE, Programs},
    control_plane::{Assets, ControlPlane},
};
use output::print_line;
use runner::Runner;

const USAGE: &str = "\
Shows what mirrord-sessions does, on a Kubernetes API server that runs on this machine alone.

Usage: cargo demo [-- --keep]

      --keep  keep everything running until Ctrl-C, to try it yourself
  -h, --help  print this help
";

/// Exit code of a process that Ctrl-C interrupted, by the convention of shells.
const INTERRUPTED: u8 = 130;

/// Runs the demo and returns its exit code, which is success only if every step passed.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut keep = false;
    for argument in arguments {
        match argument.as_str() {
            "--keep" => keep = true,
            "--help" | "-h" => {
                print_line(USAGE.trim_end());
                return ExitCode::SUCCESS;
            }
            unknown => {
                eprintln!("error: unknown argument {unknown:?}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run_until_signal(keep));
    // A build in progress ends with this process. The reaper cleans up everything else.
    runtime.shutdown_background();
    code
}

/// Runs the demo until it ends or a signal arrives. Dropping the cluster stops its processes.
async fn run_until_signal(keep: bool) -> ExitCode {
    let signal = match signal_received() {
        Ok(signal) => signal,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut signal = pin!(signal);
    let demo = async {
        let cluster = start_cluster().await?;
        let instructions = walk_through(&cluster, keep).await?;
        anyhow::Ok((cluster, instructions))
    };
    tokio::select! {
        result = demo => match result {
            Ok((cluster, Some(instructions))) => {
                print_line(&instructions);
                signal.await;
                print_line("\nStopping.");
                drop(cluster);
                ExitCode::SUCCESS
            }
            Ok((_, None)) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nerror: {error:#}");
                ExitCode::FAILURE
            }
        },
        () = &mut signal => {
            eprintln!("\ninterrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn start_cluster() -> anyhow::Result<Cluster> {
    // Fails on a missing prerequisite before the first minute of building is spent.
    let control_plane = match Assets::build_estimate()? {
        Some(estimate) => format!("{estimate} on two cores, this time only"),
        None => "already built".to_owned(),
    };
    output::print_heading("mirrord-sessions on a local Kubernetes API server");
    print_line(&format!(
        "Everything runs on loopback, and only build caches remain afterwards. Next:\n\n\
         \x20 1. Build the webhook and the plugin   {DEBUG_ESTIMATE}\n\
         \x20 2. Build etcd and Kubernetes          {control_plane}\n\
         \x20 3. Start and install everything       less than half a minute\n\
         \x20 4. Run commands, check their output   about a minute\n"
    ));
    // Builds block for minutes, during which a signal must still interrupt the demo.
    let programs = spawn_blocking(Programs::build).await??;
    let assets = spawn_blocking(Assets::locate).await??;
    let started = Instant::now();
    print_line("Starting etcd, kube-apiserver and kube-controller-manager on loopback");
    let plane = spawn_blocking(move || ControlPlane::start_with(&assets)).await??;
    print_line("Installing the CRDs and the manifests, and starting the webhook");
    let cluster = Cluster::install(plane, programs).await?;
    print_line(&format!("  done in {:.1} s", started.elapsed().as_secs_f32()));
    Ok(cluster)
}

/// Runs all steps and returns instructions for the user if the cluster is kept.
async fn walk_through(cluster: &Cluster, keep: bool) -> anyhow::Result<Option<String>> {
    let started = Instant::now();
    let mut runner = Runner::new(cluster).await?;
    walkthrough::run(&mut runner).await?;
    output::print_heading(&format!(
        "All {} steps passed in {:.1} s",
        runner.steps(),
        started.elapsed().as_secs_f32()
    ));
    if !keep {
        print_line("Run `cargo demo -- --keep` to keep the cluster and try it yourself.");
        return Ok(None);
    }
    walkthrough::create_example_sessions(&runner).await?;
    Ok(Some(runner.instructions()))
}

/// Registers signal handlers and returns a future that resolves at the first Ctrl-C or SIGTERM.
fn signal_received() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
