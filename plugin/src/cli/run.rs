//! Options of the command `run`.

use std::{ffi::OsString, time::Duration};

use clap::{Args, ValueHint};

/// Options of the command `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Target of CMD, as deployment/NAME, pod/NAME/container/NAME or targetless; by default that of
    /// the command line or configuration of a "mirrord exec"
    #[arg(short, long, value_name = "TARGET", value_parser = target)]
    pub target: Option<String>,
    /// Session key of mirrord, by which others can join; by default that of a "mirrord exec"
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
    /// Time for CMD and its descendants to end after SIGTERM when the session is stopped, before
    /// SIGKILL, such as 5s or 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::number::duration)]
    pub grace_period: Duration,
    /// Command to run, with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub command: Vec<OsString>,
}

fn target(text: &str) -> Result<String, String> {
    crate::run::target(text).ok_or_else(|| {
        "expected kind/name[/container/NAME], as deployment/ip-visit-counter, or targetless"
            .to_owned()
    })
}

fn key(text: &str) -> Result<String, String> {
    if crate::run::is_key(text) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 253 characters, none of them invisible".to_owned())
    }
}
