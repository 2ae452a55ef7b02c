//! `list`.

use clap::Args;

use super::{Everywhere, select::Select};

/// What `list` takes.
// Flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// Which ones.
    #[command(flatten)]
    pub select: Select,
    /// Sessions that are over too: the cluster remembers them for some minutes
    #[arg(long)]
    pub all_states: bool,
    /// How to show them, instead of in plain columns: wide, json, yaml, name, table (bordered, as mirrord's
    /// own), jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=FILE,
    /// custom-columns=HEADER:PATH,…, custom-columns-file=FILE. There are no go-templates
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// After the list, print changes as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Print changes as they happen, without a list first
    #[arg(long)]
    pub watch_only: bool,
    /// Sort by this field, as .metadata.creationTimestamp: a JSONPath to a number or a text
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Don't print the headers of columns
    #[arg(long)]
    pub no_headers: bool,
    /// Show labels as the last column
    #[arg(long)]
    pub show_labels: bool,
    /// Name the kind before each ID
    #[arg(long)]
    pub show_kind: bool,
    /// Read at most so many at a time; 0 reads all in one
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
    pub chunk_size: usize,
}

impl ListArgs {
    /// Whether changes are printed as they happen.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.watch || self.watch_only
    }
}
