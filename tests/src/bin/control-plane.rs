//! Runs a local control plane until Ctrl-C. See `mirrord_sessions_tests::control_plane`.

fn main() -> std::process::ExitCode {
    mirrord_sessions_tests::control_plane::cli::run(std::env::args().skip(1))
}
