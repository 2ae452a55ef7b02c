//! The demo: shows each command with its real output, and checks that it did what it should.

mod stage;
mod story;

use std::{io::Write as _, process::ExitCode, time::Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

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

/// Runs the demo; the exit code is success only if every step did what it should.
pub async fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
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
    // Ctrl-C ends the walk wherever it is, and everything that was started is stopped by being dropped.
    let walked = tokio::select! {
        walked = walk(keep) => walked,
        stopped = told_to_stop() => stopped.and(Err(anyhow::anyhow!("interrupted"))),
    };
    match walked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn walk(keep: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    say("Building the webhook and the plugin …");
    let programs = Programs::build()?;
    say("Starting etcd, kube-apiserver and kube-controller-manager on loopback …");
    let plane = ControlPlane::start()?;
    say("Installing the CRDs and manifests, and starting the webhook …");
    let cluster = Cluster::install(plane, programs).await?;
    say(&format!(
        "Ready after {:.1} s.",
        start.elapsed().as_secs_f32()
    ));

    let mut stage = Stage::set(&cluster).await?;
    story::tell(&mut stage).await?;
    say(&format!(
        "\n{} steps did what they should, in {:.1} s.",
        stage.steps(),
        start.elapsed().as_secs_f32()
    ));
    if keep {
        story::leave_something(&mut stage).await?;
        say(&stage.invitation());
        told_to_stop().await?;
        say("Stopping.");
    }
    Ok(())
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Prints a line. Whoever reads may be gone (`cargo demo | head`); the checks go on.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
