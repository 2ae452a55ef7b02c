//! Options of the command `join`.

use clap::{Args, ValueEnum};

use super::{IdArgument, NamespaceArgs};

/// Options of the command `join`.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// Session to join, by ID (in either case), prefix of an ID, or name
    #[arg(value_name = "ID")]
    pub id: IdArgument,
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
