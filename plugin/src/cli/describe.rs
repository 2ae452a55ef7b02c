//! `describe`.

use clap::Args;
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, session_id};

/// What `describe` takes.
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Sessions to describe; all of the namespace if none is named
    #[arg(value_name = "ID", value_parser = session_id)]
    pub ids: Vec<SessionId>,
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
}
