//! Options of the command `top`.

use clap::Args;

use super::Everywhere;

/// Options of the command `top`.
#[derive(Args, Clone, Copy, Debug)]
pub struct TopArgs {
    /// The namespaces to show.
    #[command(flatten)]
    pub everywhere: Everywhere,
}
