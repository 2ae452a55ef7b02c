//! A local control plane to play with: see `mirrord_sessions_tests::control_plane`.

fn main() -> std::process::ExitCode {
    mirrord_sessions_tests::control_plane::cli::run(std::env::args().skip(1))
}
