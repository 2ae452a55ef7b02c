//! Options of the command `status`.

use clap::Args;

use super::auditor::ObjectFormat;

/// Options of the command `status`.
#[derive(Args, Clone, Copy, Debug)]
pub struct HealthArgs {
    /// Output format, instead of text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<ObjectFormat>,
}
