//! Binary of the webhook process.

use std::process::ExitCode;

use clap::Parser;
use mirrord_sessions_webhook::{Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
