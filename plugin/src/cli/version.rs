//! Options of the command `version`.

use clap::{Args, ValueEnum};

/// Options of the command `version`.
#[derive(Args, Clone, Copy, Debug)]
pub struct VersionArgs {
    /// Only the version of this plugin, without a request to the cluster
    #[arg(long)]
    pub client: bool,
    /// Output format, instead of text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<VersionFormat>,
}

/// The output formats of `version`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum VersionFormat {
    /// Output in JSON format
    Json,
    /// Output in YAML format
    Yaml,
}
