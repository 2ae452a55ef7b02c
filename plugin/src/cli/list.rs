//! `list`.

use clap::{ArgAction, Args};
use mirrord_sessions_crds::SessionId;

use super::{Everywhere, select::Select, session_id};

/// What `list` takes.
// Flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only these, by ID (in either case), its beginning, or name; also those that are over
    #[arg(value_name = "ID", value_parser = session_id)]
    pub ids: Vec<SessionId>,
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Which ones.
    #[command(flatten)]
    pub select: Select,
    /// Sessions that are over too: the cluster remembers them for some minutes
    #[arg(long)]
    pub all_states: bool,
    /// How to show them, instead of in plain columns: wide, json, yaml, name, table (bordered, as
    /// mirrord's own), jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=FILE,
    /// go-template=TEMPLATE, go-template-file=FILE, custom-columns=HEADER:PATH,…,
    /// custom-columns-file=FILE
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Template, or file with one, for an -o that goes without; for a go-template if there is no -o
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,
    /// After the list, print changes as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Print changes as they happen, without a list first
    #[arg(long)]
    pub watch_only: bool,
    /// With --watch or --watch-only, say of each change which kind it is: ADDED, MODIFIED or
    /// DELETED
    #[arg(long)]
    pub output_watch_events: bool,
    /// Sort by this field, as .metadata.creationTimestamp: a JSONPath to a number or a text
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Don't print the headers of columns
    #[arg(long)]
    pub no_headers: bool,
    /// Show these labels in columns of their own; several are separated by commas, or given one by
    /// one
    #[arg(short = 'L', long, value_name = "LABELS", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Show labels as the last column
    #[arg(long)]
    pub show_labels: bool,
    /// Name the kind before each ID
    #[arg(long)]
    pub show_kind: bool,
    /// Read at most so many at a time, 0 reads all in one; 500 at first and then more by default
    #[arg(long, value_name = "NUMBER", value_parser = super::number::chunk, allow_negative_numbers = true)]
    pub chunk_size: Option<usize>,
    /// That nothing is found is neither said nor, where IDs are given, a failure
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Keep metadata.managedFields in JSON and YAML
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Whether a field that a JSONPath names may be missing
    #[arg(long, action = ArgAction::SetFalse)]
    pub allow_missing_template_keys: bool,
}

impl ListArgs {
    /// Whether changes are printed as they happen.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.watch || self.watch_only
    }
}
