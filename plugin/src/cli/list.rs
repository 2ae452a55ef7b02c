//! `list`.

use clap::{Args, ValueEnum};

use super::Everywhere;

/// What `list` takes.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// How to show them, instead of in plain columns
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<ListFormat>,
}

/// How a list is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ListFormat {
    /// Plain columns, and more of them
    Wide,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// Names that delete and kubectl take
    Name,
    /// A bordered table, as mirrord's own
    Table,
}
