//! Command line of `control-plane`, which runs a control plane until Ctrl-C.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::error::Error;
use super::progress::print_line;
use super::{Assets, ControlPlane};

const USAGE: &str = "\
Starts etcd, kube-apiserver and kube-controller-manager on loopback, and stops them on Ctrl-C.

Usage: control-plane [--prefetch]

  --prefetch  build missing programs and exit
  --help      print this help
";

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run,
    Prefetch,
    Help,
}

/// Runs the program with the given arguments and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let result = match parse(arguments) {
        Ok(Command::Help) => print(USAGE),
        Ok(Command::Prefetch) => Assets::locate().map(drop),
        Ok(Command::Run) => run_until_signal(),
        Err(unknown) => {
            print_line(&format!("error: unknown argument {unknown:?}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut command = Command::Run;
    for argument in arguments {
        command = match argument.as_str() {
            "--prefetch" => Command::Prefetch,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(argument),
        };
    }
    Ok(command)
}

fn run_until_signal() -> Result<(), Error> {
    let started = Instant::now();
    let plane = ControlPlane::start()?;
    print_line(&format!(
        "Ready after {:.1} s. Logs are in {}. Press Ctrl-C to stop.",
        started.elapsed().as_secs_f32(),
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
        let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(received).await;
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
    fn parses_arguments() {
        for (arguments, expected) in [
            (&[][..], Ok(Command::Run)),
            (&["--prefetch"], Ok(Command::Prefetch)),
            (&["--prefetch", "-h"], Ok(Command::Help)),
            (&["start"], Err("start".to_owned())),
        ] {
            assert_eq!(parse(arguments.iter().map(ToString::to_string)), expected, "{arguments:?}");
        }
    }
}
