//! Options of the command `top`.

use clap::Args;

use super::NamespaceArgs;

/// Options of the command `top`.
#[derive(Args, Clone, Copy, Debug)]
pub struct TopArgs {
    /// The namespaces to show.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
}
