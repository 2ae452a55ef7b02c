//! `auditor`.

use clap::{Args, Subcommand, ValueEnum};

/// What can be asked of the auditor role.
#[derive(Debug, Subcommand)]
pub enum AuditorCommand {
    /// Show its version, whether it was modified, who manages it, and how it differs
    #[command(after_help = "Examples:
  kubectl mirrord-sessions auditor status
  kubectl mirrord-sessions auditor status -o json")]
    Status(StatusArgs),
    /// Show how it differs from its latest version; exit code 1 if it does, as of kubectl diff, and
    /// 2 if that can't be told
    ///
    /// With -o, prints the role that a GitOps repository should take over instead: the rules it
    /// has, and those that are missing.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions auditor diff
  kubectl mirrord-sessions auditor diff -o yaml > auditor-role.yaml")]
    Diff(DiffArgs),
}

/// What `auditor status` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct StatusArgs {
    /// How to show it, instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<WholeFormat>,
}

/// What `auditor diff` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct DiffArgs {
    /// Print the whole role to take over, instead of a diff
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<WholeFormat>,
}

/// How something is shown whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum WholeFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}
