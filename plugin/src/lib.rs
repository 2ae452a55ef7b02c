//! The kubectl plugin `kubectl mirrord-sessions`, which lists, describes and stops mirrord
//! sessions.
//!
//! A command fetches its data from the API server, and a pure function renders it. All output can
//! therefore be tested without a cluster.

pub mod cli;
mod commands;
mod complete;
pub mod console;
pub mod error;
pub mod filter;
mod home;
pub mod jsonpath;
mod number;
pub mod rbac;
pub mod render;
#[cfg(unix)]
mod run;
pub mod server;
pub mod session;
mod status;
mod top;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::error::ErrorKind;

use crate::{
    cli::{Cli, Command, auditor::AuditorCommand},
    console::Console,
    error::Error,
};

/// Runs a command line on the process's streams.
///
/// The exit code is 1 for any failure, usage errors included, like kubectl's; 2 for failures of
/// commands for which 1 is a result; or that of the wrapped command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    exit_code(&mut Console::for_process(), arguments).into()
}

/// Runs a command line on a console. Returns whether it succeeded.
pub fn run_on(console: &mut Console<'_>, arguments: impl IntoIterator<Item = OsString>) -> bool {
    exit_code(console, arguments) == 0
}

fn exit_code(console: &mut Console<'_>, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(words) = complete::requested_words(&arguments) {
        return u8::from(complete::run(&words, console).is_err());
    }
    let (is_diff, result) = match Cli::parse_from_args(arguments.iter().cloned()) {
        Ok(cli) => (
            matches!(cli.command, Command::Auditor(AuditorCommand::Diff(_))),
            execute(commands::run(cli, console)),
        ),
        Err(error) => (
            arguments.windows(2).any(|pair| pair == ["auditor", "diff"]),
            report_usage_error(&error, &arguments, console),
        ),
    };
    // Like kubectl diff, whose exit code 1 reports a difference.
    let failure = if is_diff { 2 } else { 1 };
    match result {
        Ok(()) => 0,
        Err(Error::Exit(code)) => code,
        Err(Error::Reported) => failure,
        Err(error) => {
            console.say(&error.to_string());
            failure
        }
    }
}

fn execute<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // Install the provider explicitly, since other crates of the build may enable a second one. The
    // installation fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::setup(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A hanging name look-up must not delay the exit.
    runtime.shutdown_background();
    result
}

fn report_usage_error(
    error: &clap::Error,
    arguments: &[OsString],
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::DisplayVersion => console.print(&error.render().to_string()),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console.print(&usage::help(error, arguments))
        }
        _ => {
            console.say_lines(&usage::message(error, arguments));
            Err(Error::Reported)
        }
    }
}
