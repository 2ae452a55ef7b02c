//! Options of the command `join`.

use clap::{Args, ValueEnum};
use mirrord_sessions_crds::SessionId;

use super::{NamespaceArgs, session_id};

/// Options of the command `join`.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// Session to join, by ID (in either case), prefix of an ID, or name
    #[arg(value_name = "ID", value_parser = session_id)]
    pub id: SessionId,
    /// The namespaces to search.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Output format, instead of text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<JoinFormat>,
}

/// The output formats of `join`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum JoinFormat {
    /// Output in JSON format
    Json,
    /// Output in YAML format
    Yaml,
    /// The name of the session
    Name,
}
