//! `completion`.

use clap::{Args, ValueEnum};

/// What `completion` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionArgs {
    /// Shell to print a script for, which completes the words behind kubectl-mirrord_sessions
    #[arg(value_enum, value_name = "SHELL", required_unless_present_any = ["install", "uninstall"])]
    pub shell: Option<Shell>,
    /// Make kubectl's own completion complete the words behind "kubectl mirrord-sessions": puts a
    /// link beside the plugin, where kubectl looks for it
    #[arg(long, conflicts_with_all = ["shell", "uninstall"])]
    pub install: bool,
    /// Take that link away again
    #[arg(long, conflicts_with = "shell")]
    pub uninstall: bool,
}

/// A shell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    /// Bash, 3.2 and later
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}
