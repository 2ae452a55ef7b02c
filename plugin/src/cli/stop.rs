//! Options of `delete`, `kill` and `kill-all`.

use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, ValueEnum};

use super::{IdArgument, NamespaceArgs, select::SelectionArgs};

/// Options of the command `delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Sessions to stop, by ID (in either case), prefix of an ID, or name
    #[arg(value_name = "ID")]
    pub ids: Vec<IdArgument>,
    /// The options in common with `kill`.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

/// Options of the command `kill`.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// Session to stop; may be repeated
    #[arg(long = "id", value_name = "ID")]
    pub id: Vec<IdArgument>,
    /// Sessions to stop, as with --id
    #[arg(value_name = "ID")]
    pub ids: Vec<IdArgument>,
    /// The options in common with `delete`.
    #[command(flatten)]
    pub shared: SharedDeleteArgs,
}

impl KillArgs {
    /// Returns the IDs of both forms.
    #[must_use]
    pub fn all_ids(&self) -> Vec<IdArgument> {
        [self.id.as_slice(), self.ids.as_slice()].concat()
    }
}

/// The options in common of `delete` and `kill`.
#[derive(Args, Clone, Debug)]
pub struct SharedDeleteArgs {
    /// The namespaces to search.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// The selection of sessions if no ID is given.
    #[command(flatten)]
    pub select: SelectionArgs,
    /// All sessions of the namespace
    #[arg(long)]
    pub all: bool,
    /// Treat missing sessions as success
    #[arg(long)]
    pub ignore_not_found: bool,
    /// The options of the deletion.
    #[command(flatten)]
    pub stop: StopOptions,
}

/// Options of the command `kill-all`.
#[derive(Args, Clone, Debug)]
pub struct KillAllArgs {
    /// The namespaces to search.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// The selection of sessions.
    #[command(flatten)]
    pub select: SelectionArgs,
    /// The options of the deletion.
    #[command(flatten)]
    pub stop: StopOptions,
}

/// The options of a deletion.
// The flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Clone, Debug)]
pub struct StopOptions {
    /// Don't stop them: "client" only checks that they exist, "server" runs all checks
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        default_value = "none",
        // kubectl accepts the flag without a value, with a deprecation warning.
        default_missing_value = "unchanged",
        num_args = 0..=1,
        require_equals = true
    )]
    pub dry_run: DryRun,
    /// Don't ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Ask for confirmation, for one session and without a terminal too: "y" or "yes" on standard
    /// input confirms
    #[arg(short, long)]
    pub interactive: bool,
    /// Wait until they are shown as ended
    #[arg(long, action = ArgAction::SetFalse)]
    pub wait: bool,
    /// Time limit of the wait, such as 5s or 2m; 0 is a minute
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = crate::number::with_unit)]
    pub timeout: Duration,
    /// Seconds given to each session to end; the cluster's default if negative. Sessions end at
    /// once either way
    #[arg(long, value_name = "SECONDS", default_value = "-1", allow_negative_numbers = true, value_parser = crate::number::integer)]
    pub grace_period: i64,
    /// Shorthand for --grace-period=1
    #[arg(long)]
    pub now: bool,
    /// Allow a --grace-period of 0, which is then the default
    #[arg(long)]
    pub force: bool,
    /// Accepted for compatibility with kubectl: a Session has no dependents, and its agent ends
    /// with it
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
    /// Output format: "name" prints the names only
    // The id differs from that of the list formats, by which completion suggests values.
    #[arg(id = "delete_output", short = 'o', long = "output", value_name = "FORMAT")]
    pub output: Option<String>,
}

/// The mode of a dry run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DryRun {
    /// Delete without a dry run
    #[value(aliases = ["0", "f", "F", "false", "FALSE", "False"])]
    None,
    /// Check in the plugin alone
    #[value(aliases = ["unchanged", "1", "t", "T", "true", "TRUE", "True"])]
    Client,
    /// Check in the API server
    Server,
}

/// Returns kubectl's warnings about deprecated values.
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
