//! `version`.

use clap::{Args, ValueEnum};

/// What `version` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct VersionArgs {
    /// Only the version of this plugin: the cluster isn't asked
    #[arg(long)]
    pub client: bool,
    /// How to show them, instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<VersionFormat>,
}

/// How versions are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum VersionFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}
