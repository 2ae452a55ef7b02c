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
    /// How to show them, instead of in plain columns: wide, json, yaml, name or table (bordered, as
    /// mirrord's own)
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
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
