//! Options of the command `auditor`.

use clap::{Args, Subcommand, ValueEnum};

/// The commands about the auditor role.
#[derive(Debug, Subcommand)]
pub enum AuditorCommand {
    /// Show the version of the role, whether it was modified, who manages it, and its difference
    #[command(after_help = "Examples:
  kubectl mirrord-sessions auditor status
  kubectl mirrord-sessions auditor status -o json")]
    Status(StatusArgs),
    /// Show the difference from the latest version; the exit code is 1 if there is one, as for
    /// kubectl diff, and 2 for an error
    ///
    /// With -o, prints the role that a GitOps repository should contain instead: the current rules
    /// and the missing ones.
    #[command(after_help = "Examples:
  kubectl mirrord-sessions auditor diff
  kubectl mirrord-sessions auditor diff -o yaml > auditor-role.yaml")]
    Diff(DiffArgs),
}

/// Options of `auditor status`.
#[derive(Args, Clone, Copy, Debug)]
pub struct StatusArgs {
    /// Output format, instead of text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<ObjectFormat>,
}

/// Options of `auditor diff`.
#[derive(Args, Clone, Copy, Debug)]
pub struct DiffArgs {
    /// Print the complete role for a GitOps repository, instead of a diff
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<ObjectFormat>,
}

/// The formats of complete objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ObjectFormat {
    /// Output in JSON format
    Json,
    /// Output in YAML format
    Yaml,
}
