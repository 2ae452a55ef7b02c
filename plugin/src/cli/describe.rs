//! `describe`.

use clap::{ArgAction, Args};
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, is_sessions, session_id};
use crate::filter::Target;

/// What `describe` takes.
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Sessions to describe, by ID, its beginning, or name, or by target as deployment/shop; all of
    /// the namespace if none is named
    #[arg(value_name = "ID|TARGET", value_parser = described)]
    pub what: Vec<Described>,
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Only sessions whose labels fit, as "a=b,c!=d,e in (f,g)"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Show the Events about each
    #[arg(long, action = ArgAction::SetFalse)]
    pub show_events: bool,
    /// Read at most so many at a time, 0 reads all in one; 500 at first and then more by default
    #[arg(long, value_name = "NUMBER", value_parser = super::number::chunk, allow_negative_numbers = true)]
    pub chunk_size: Option<usize>,
}

/// What to describe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Described {
    /// One session.
    Session(SessionId),
    /// All sessions on a target.
    On(Target),
}

fn described(text: &str) -> Result<Described, String> {
    match text.split_once('/') {
        Some((kind, _)) if !is_sessions(kind) => text
            .parse()
            .map(Described::On)
            .map_err(|error: crate::filter::InvalidTarget| error.to_string()),
        _ => session_id(text).map(Described::Session),
    }
}
