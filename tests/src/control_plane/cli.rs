//! The program `control-plane`: one to play with, until Ctrl-C.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::error::Error;
use super::progress::say;
use super::{Assets, ControlPlane};

const USAGE: &str = "\
Starts etcd, kube-apiserver and kube-controller-manager on loopback, and stops them on Ctrl-C.

Usage: control-plane [--prefetch]

  --prefetch  only make sure that the programs are there, building them if need be
  --help      show this
";

#[derive(Debug, PartialEq, Eq)]
enum Task {
    Run,
    Prefetch,
    Help,
}

/// Does what the arguments say; the exit code is the program's.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let done = match parse(arguments) {
        Ok(Task::Help) => print(USAGE),
        Ok(Task::Prefetch) => Assets::locate().map(drop),
        Ok(Task::Run) => run_until_told(),
        Err(unknown) => {
            say(&format!("error: unknown argument {unknown:?}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut task = Task::Run;
    for argument in arguments {
        task = match argument.as_str() {
            "--prefetch" => Task::Prefetch,
            "--help" | "-h" => return Ok(Task::Help),
            _ => return Err(argument),
        };
    }
    Ok(task)
}

fn run_until_told() -> Result<(), Error> {
    let since = Instant::now();
    let plane = ControlPlane::start()?;
    say(&format!(
        "Ready after {:.1} s; logs are in {}. Ctrl-C stops it.",
        since.elapsed().as_secs_f32(),
        plane.folder().display()
    ));
    let path = plane.admin().path().display().to_string();
    print(&format!("export KUBECONFIG='{}'\n", path.replace('\'', r"'\''")))?;
    wait_for_signal()
}

fn wait_for_signal() -> Result<(), Error> {
    let doing = "wait for a signal";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io(doing))?;
    runtime.block_on(async {
        let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(signal)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::io(doing))?;
        let each = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(each).await;
        Ok(())
    })
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("write to standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (arguments, task) in [
            (&[][..], Ok(Task::Run)),
            (&["--prefetch"], Ok(Task::Prefetch)),
            (&["--prefetch", "-h"], Ok(Task::Help)),
            (&["start"], Err("start".to_owned())),
        ] {
            assert_eq!(parse(arguments.iter().map(ToString::to_string)), task, "{arguments:?}");
        }
    }
}
