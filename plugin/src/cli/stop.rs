//! `delete`, `kill` and `kill-all`.

use clap::{Args, ValueEnum};
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, session_id};

/// How sessions are stopped.
#[derive(Args, Clone, Copy, Debug)]
pub struct Stop {
    /// Don't stop them: "client" only looks whether they are there, "server" runs all the checks
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        default_value = "none",
        default_missing_value = "client",
        num_args = 0..=1,
        require_equals = true
    )]
    pub dry_run: DryRun,
}

/// Who only tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DryRun {
    /// Nobody: it is done
    None,
    /// This plugin
    Client,
    /// The API server
    Server,
}

/// What `delete` takes.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Sessions to stop, by ID (in either case) or name
    #[arg(value_name = "ID", value_parser = session_id, required = true)]
    pub ids: Vec<SessionId>,
    /// What `kill` takes too.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

/// What `kill` takes.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// Session to stop; may be given several times
    #[arg(long = "id", value_name = "ID", value_parser = session_id)]
    pub id: Vec<SessionId>,
    /// Sessions to stop, as with --id
    #[arg(value_name = "ID", value_parser = session_id, required_unless_present = "id")]
    pub ids: Vec<SessionId>,
    /// What `delete` takes too.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

/// What both `delete` and `kill` take.
#[derive(Args, Clone, Copy, Debug)]
pub struct SharedDeleteArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// A session that isn't there is no failure
    #[arg(long)]
    pub ignore_not_found: bool,
    /// How to stop them.
    #[command(flatten)]
    pub stop: Stop,
}

/// What `kill-all` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct KillAllArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Don't ask first
    #[arg(short, long)]
    pub yes: bool,
    /// How to stop them.
    #[command(flatten)]
    pub stop: Stop,
}
