//! `cargo demo`: walks through the main features on a real control plane.

use std::process::ExitCode;

use mirrord_sessions_tests::demo;

fn main() -> ExitCode {
    demo::run(std::env::args().skip(1))
}
