//! `kubectl mirrord-sessions`: list, describe and stop mirrord sessions.
//!
//! A command fetches what it needs from the API server and hands it to a pure function that renders
//! it, so that all that is shown can be tested without a cluster.

pub mod cli;
mod commands;
mod complete;
pub mod console;
pub mod error;
pub mod filter;
mod home;
pub mod jsonpath;
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

/// Does what the command line says, on the process' own streams. The exit code is 1 if anything
/// failed, usage errors included, as kubectl's is; 2 where 1 is an answer; or that of the command
/// that was to be run.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    exit_code(&mut Console::of_process(), arguments).into()
}

/// Does what the command line says; answers whether all went well.
pub fn run_on(console: &mut Console<'_>, arguments: impl IntoIterator<Item = OsString>) -> bool {
    exit_code(console, arguments) == 0
}

fn exit_code(console: &mut Console<'_>, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(words) = complete::asked(&arguments) {
        return u8::from(complete::run(&words, console).is_err());
    }
    let (is_diff, result) = match Cli::of(arguments.iter().cloned()) {
        Ok(cli) => (
            matches!(cli.command, Command::Auditor(AuditorCommand::Diff(_))),
            execute(commands::run(cli, console)),
        ),
        Err(error) => (
            arguments.windows(2).any(|pair| pair == ["auditor", "diff"]),
            misunderstood(&error, &arguments, console),
        ),
    };
    // As of kubectl diff, where 1 says that there is a difference.
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
    // The TLS library must not have to guess, whatever other crates in the same build enable. A
    // second provider can't be there yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::setup(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A name look-up that hangs must not keep the process.
    runtime.shutdown_background();
    result
}

fn misunderstood(
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
