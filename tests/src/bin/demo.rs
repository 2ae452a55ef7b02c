//! `cargo demo`: the main job on a real control plane, step by step.

use std::process::ExitCode;

use mirrord_sessions_tests::demo;

fn main() -> ExitCode {
    demo::run(std::env::args().skip(1))
}
