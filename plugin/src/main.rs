//! Binary of the kubectl plugin.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirrord_sessions_plugin::run(std::env::args_os())
}
