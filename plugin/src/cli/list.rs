//! Options of the command `list`.

use clap::{ArgAction, Args};

use super::{IdArgument, NamespaceArgs, select::SelectionArgs};

/// Options of the command `list`.
// The flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only these sessions, by ID (in either case), prefix of an ID, or name; ended sessions too
    #[arg(value_name = "ID")]
    pub ids: Vec<IdArgument>,
    /// The namespaces to list.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// The selection of sessions.
    #[command(flatten)]
    pub select: SelectionArgs,
    /// Ended sessions too: the cluster shows them for some minutes
    #[arg(long)]
    pub all_states: bool,
    /// Output format, instead of plain columns: wide, json, yaml, name, table (bordered, as
    /// mirrord's own), jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=FILE,
    /// custom-columns=HEADER:PATH,…, custom-columns-file=FILE
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Template, or file with one, for an -o without it
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,
    /// After the list, print changes as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Print changes as they happen, without a list first
    #[arg(long)]
    pub watch_only: bool,
    /// With --watch or --watch-only, print the kind of each change: ADDED, MODIFIED or DELETED
    #[arg(long)]
    pub output_watch_events: bool,
    /// Sort by this field, such as .metadata.creationTimestamp: a JSONPath to a number or a string
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Don't print column headers
    #[arg(long)]
    pub no_headers: bool,
    /// Show these labels as columns, separated by commas or by repeating the flag
    #[arg(short = 'L', long, value_name = "LABELS", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Show labels as the last column
    #[arg(long)]
    pub show_labels: bool,
    /// Print the kind before each ID
    #[arg(long)]
    pub show_kind: bool,
    /// Items per request, 0 reads all at once; 500 at first and then more by default
    #[arg(long, value_name = "NUMBER", value_parser = crate::number::chunk, allow_negative_numbers = true)]
    pub chunk_size: Option<usize>,
    /// Print no message if nothing is found, and treat missing IDs as success
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Keep metadata.managedFields in JSON and YAML
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Accept missing fields in a JSONPath
    #[arg(long, action = ArgAction::SetFalse)]
    pub allow_missing_template_keys: bool,
}

impl ListArgs {
    /// Returns whether changes are printed as they happen.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.watch || self.watch_only
    }
}
