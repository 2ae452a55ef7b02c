//! `kubectl mirrord-sessions`: list, describe and stop mirrord sessions.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirrord_sessions_plugin::run(std::env::args_os())
}
