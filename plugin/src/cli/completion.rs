//! Options of the command `completion`.

use clap::{Args, ValueEnum};

/// Options of the command `completion`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionArgs {
    /// Shell to print a completion script of kubectl-mirrord_sessions for
    #[arg(value_enum, value_name = "SHELL", required_unless_present_any = ["install", "uninstall"])]
    pub shell: Option<Shell>,
    /// Enable kubectl's own completion of "kubectl mirrord-sessions": creates a link beside the
    /// plugin, where kubectl looks for it
    #[arg(long, conflicts_with_all = ["shell", "uninstall"])]
    pub install: bool,
    /// Remove the link of --install
    #[arg(long, conflicts_with = "shell")]
    pub uninstall: bool,
}

/// The shells with a completion script.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    /// Bash, 3.2 or later
    Bash,
    /// Zsh, of any version
    Zsh,
    /// Fish, of any version
    Fish,
}
