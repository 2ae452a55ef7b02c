//! `delete`, `kill` and `kill-all`.

use std::{str::FromStr, time::Duration};

use clap::{ArgAction, ArgMatches, Args, ValueEnum};
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, select::Select, session_id};

/// An ID as it was typed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Typed {
    /// What it says.
    pub id: SessionId,
    /// Whether it may be the beginning of another one: with the resource before it, as programs
    /// print it, it is whole.
    pub may_begin: bool,
}

impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { id: session_id(text)?, may_begin: !text.contains('/') })
    }
}

/// What `delete` takes.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Sessions to stop, by ID (in either case), its beginning, or name
    #[arg(value_name = "ID")]
    pub ids: Vec<Typed>,
    /// What `kill` takes too.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

/// What `kill` takes.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// Session to stop; may be given several times
    #[arg(long = "id", value_name = "ID")]
    pub id: Vec<Typed>,
    /// Sessions to stop, as with --id
    #[arg(value_name = "ID")]
    pub ids: Vec<Typed>,
    /// What `delete` takes too.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

impl KillArgs {
    /// The IDs, given in either way.
    #[must_use]
    pub fn all_ids(&self) -> Vec<Typed> {
        [self.id.as_slice(), self.ids.as_slice()].concat()
    }
}

/// What both `delete` and `kill` take.
#[derive(Args, Clone, Debug)]
pub struct SharedDeleteArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Which ones, where no ID is given.
    #[command(flatten)]
    pub select: Select,
    /// All the sessions of the namespace
    #[arg(long)]
    pub all: bool,
    /// A session that isn't there is no failure
    #[arg(long)]
    pub ignore_not_found: bool,
    /// How to stop them.
    #[command(flatten)]
    pub stop: Stop,
}

/// What `kill-all` takes.
#[derive(Args, Clone, Debug)]
pub struct KillAllArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Which ones of them.
    #[command(flatten)]
    pub select: Select,
    /// How to stop them.
    #[command(flatten)]
    pub stop: Stop,
}

/// How sessions are stopped.
// Flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Clone, Debug)]
pub struct Stop {
    /// Don't stop them: "client" only looks whether they are there, "server" runs all the checks
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        default_value = "none",
        // As which kubectl takes it, and says that it should be given one.
        default_missing_value = "unchanged",
        num_args = 0..=1,
        require_equals = true
    )]
    pub dry_run: DryRun,
    /// Don't ask first, where several are to be stopped
    #[arg(short, long)]
    pub yes: bool,
    /// Ask first, also for one and where nobody sits at a terminal: "y" and "yes" on standard input
    /// are a yes
    #[arg(short, long)]
    pub interactive: bool,
    /// Wait until they are shown as over, or not at all
    #[arg(long, action = ArgAction::SetFalse)]
    pub wait: bool,
    /// How long to wait for that, as 5s or 2m; 0 is a minute
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = super::number::with_unit)]
    pub timeout: Duration,
    /// Seconds to let each end in; left to the cluster if negative. Sessions end at once either way
    #[arg(long, value_name = "SECONDS", default_value = "-1", allow_negative_numbers = true, value_parser = super::number::whole)]
    pub grace_period: i64,
    /// The same as --grace-period=1
    #[arg(long)]
    pub now: bool,
    /// Let --grace-period be 0, which it then is without being given
    #[arg(long)]
    pub force: bool,
    /// Taken for kubectl's sake: a Session has nothing that depends on it, and its agent ends with
    /// it
    #[arg(
        long,
        value_name = "HOW",
        default_value = "background",
        default_missing_value = "background",
        num_args = 0..=1,
        require_equals = true,
        hide_short_help = true
    )]
    pub cascade: String,
    /// How to tell what was stopped: "name" for names alone
    // Another id than that of formats of lists, which are completed by it.
    #[arg(id = "how_told", short = 'o', long = "output", value_name = "FORMAT")]
    pub output: Option<String>,
}

/// Who only tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DryRun {
    /// Nobody: it is done
    #[value(aliases = ["0", "f", "F", "false", "FALSE", "False"])]
    None,
    /// This plugin
    #[value(aliases = ["unchanged", "1", "t", "T", "true", "TRUE", "True"])]
    Client,
    /// The API server
    Server,
}

/// What kubectl says of values that it only still takes.
pub(super) fn deprecated(matches: &ArgMatches) -> Vec<String> {
    let typed = |id: &str| {
        let typed = matches.try_get_raw(id).ok().flatten()?.next_back()?;
        typed.to_str().map(ToOwned::to_owned)
    };
    let mut warnings = Vec::new();
    if let Some(typed) = typed("dry_run") {
        match super::boolean(&typed) {
            Ok(is) => warnings.push(format!(
                "warning: --dry-run={typed} is deprecated (boolean value) and can be replaced with --dry-run={}.",
                if is { "client" } else { "none" }
            )),
            Err(_) if typed == "unchanged" => warnings.push(
                "warning: --dry-run is deprecated and can be replaced with --dry-run=client."
                    .to_owned(),
            ),
            Err(_) => {}
        }
    }
    if let Some(typed) = typed("cascade")
        && let Ok(is) = super::boolean(&typed)
    {
        warnings.push(format!(
            "warning: --cascade={typed} is deprecated (boolean value) and can be replaced with --cascade={}.",
            if is { "background" } else { "orphan" }
        ));
    }
    warnings
}
