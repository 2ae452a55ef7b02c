//! `top`.

use clap::Args;

use super::Everywhere;

/// What `top` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct TopArgs {
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
}
