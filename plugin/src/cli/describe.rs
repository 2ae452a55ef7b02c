//! Options of the command `describe`.

use clap::{ArgAction, Args};

use super::{IdArgument, NamespaceArgs, id::is_sessions};
use crate::filter::Target;

/// Options of the command `describe`.
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Sessions to describe, by ID, prefix of an ID, or name, or by target, such as
    /// deployment/shop; all sessions of the namespace by default
    #[arg(value_name = "ID|TARGET", value_parser = describe_argument)]
    pub what: Vec<DescribeArgument>,
    /// The namespaces to search.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Only sessions with matching labels, such as "a=b,c!=d,e in (f,g)"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Show the Events of each session
    #[arg(long, action = ArgAction::SetFalse)]
    pub show_events: bool,
    /// Items per request, 0 reads all at once; 500 at first and then more by default
    #[arg(long, value_name = "NUMBER", value_parser = crate::number::chunk, allow_negative_numbers = true)]
    pub chunk_size: Option<usize>,
}

/// The argument of `describe`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DescribeArgument {
    /// A session by ID.
    Session(IdArgument),
    /// All sessions on a target.
    Target(Target),
}

fn describe_argument(text: &str) -> Result<DescribeArgument, String> {
    match text.split_once('/') {
        Some((kind, _)) if !is_sessions(kind) => text
            .parse()
            .map(DescribeArgument::Target)
            .map_err(|error: crate::filter::InvalidTarget| error.to_string()),
        _ => text.parse().map(DescribeArgument::Session),
    }
}
