//! The demo: shows each command with its real output, and checks that it did what it should.

mod plain;
mod stage;
mod story;

use std::{io::Write as _, pin::pin, process::ExitCode, time::Instant};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use crate::{
    cluster::{Cluster, Programs},
    control_plane::ControlPlane,
};
use stage::Stage;

const USAGE: &str = "\
Starts a local control plane, installs mirrord-sessions on it, and walks through what it does.

Usage: cargo demo [-- --keep]

      --keep  leave everything running until Ctrl-C, to try it yourself
  -h, --help  show this
";

/// The exit code of who was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the demo; the exit code is success only if every step did what it should.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut keep = false;
    for argument in arguments {
        match argument.as_str() {
            "--keep" => keep = true,
            "--help" | "-h" => {
                say(USAGE.trim_end());
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
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(until_told_to_stop(keep));
    // A build that is under way is ended with the process, and what was started by its keeper.
    runtime.shutdown_background();
    code
}

/// A signal ends the walk wherever it is; what was started is stopped by being dropped.
async fn until_told_to_stop(keep: bool) -> ExitCode {
    let stop = match told_to_stop() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut stop = pin!(stop);
    let show = async {
        let cluster = start().await?;
        let invitation = walk(&cluster, keep).await?;
        anyhow::Ok((cluster, invitation))
    };
    tokio::select! {
        shown = show => match shown {
            Ok((cluster, Some(invitation))) => {
                say(&invitation);
                stop.await;
                say("Stopping.");
                drop(cluster);
                ExitCode::SUCCESS
            }
            Ok((_, None)) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nerror: {error:#}");
                ExitCode::FAILURE
            }
        },
        () = &mut stop => {
            eprintln!("\ninterrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn start() -> anyhow::Result<Cluster> {
    let start = Instant::now();
    // Both block, for minutes at times; a signal must be heard meanwhile.
    say("Building the webhook and the plugin …");
    let programs = spawn_blocking(Programs::build).await??;
    say("Starting etcd, kube-apiserver and kube-controller-manager on loopback …");
    let plane = spawn_blocking(ControlPlane::start).await??;
    say("Installing the CRDs and manifests, and starting the webhook …");
    let cluster = Cluster::install(plane, programs).await?;
    say(&format!("Ready after {:.1} s.", start.elapsed().as_secs_f32()));
    Ok(cluster)
}

/// Tells the story; what to say to who stays, if somebody does.
async fn walk(cluster: &Cluster, keep: bool) -> anyhow::Result<Option<String>> {
    let start = Instant::now();
    let mut stage = Stage::set(cluster).await?;
    story::tell(&mut stage).await?;
    say(&format!(
        "\n{} steps did what they should, in {:.1} s.",
        stage.steps(),
        start.elapsed().as_secs_f32()
    ));
    if !keep {
        return Ok(None);
    }
    story::leave_something(&mut stage).await?;
    Ok(Some(stage.invitation()))
}

/// Listens from now on; done at the first Ctrl-C or SIGTERM.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Prints a line. Whoever reads may be gone (`cargo demo | head`); the checks go on.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
