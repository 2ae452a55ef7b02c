//! `status`.

use clap::Args;

use super::auditor::WholeFormat;

/// What `status` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct HealthArgs {
    /// How to show it, instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<WholeFormat>,
}
