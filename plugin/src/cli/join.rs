//! `join`.

use clap::{Args, ValueEnum};
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, session_id};

/// What `join` takes.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// Session to join, by ID (in either case), its beginning, or name
    #[arg(value_name = "ID", value_parser = session_id)]
    pub id: SessionId,
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// How to show the answer, instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<JoinFormat>,
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum JoinFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// The name of the session
    Name,
}
