//! `rbac`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Everywhere, auditor::WholeFormat};

/// What can be asked of RBAC.
#[derive(Debug, Subcommand)]
pub enum RbacCommand {
    /// Show which users, groups and service accounts may do something, each with the binding that
    /// grants it
    ///
    /// Reads roles and bindings as RBAC has them; other authorizers, and who belongs to a group,
    /// are not asked. SessionPolicies may narrow what is granted: "policy test" tries them.
    #[command(after_help = "Examples:
  # Who may stop sessions in namespace shop
  kubectl mirrord-sessions rbac who-can kill -n shop

  # Who may see sessions, anywhere
  kubectl mirrord-sessions rbac who-can list -A")]
    WhoCan(WhoCanArgs),
}

/// What `rbac who-can` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct WhoCanArgs {
    /// To do what
    #[arg(value_enum, value_name = "WHAT")]
    pub what: What,
    /// Where.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// How to show them, instead of in columns
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<WholeFormat>,
}

/// What somebody may do with sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum What {
    /// See which sessions there are
    List,
    /// See a single session
    Read,
    /// Stop sessions
    Kill,
    /// Join somebody's session
    Join,
}

impl What {
    /// The word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Kill => "kill",
            Self::Join => "join",
        }
    }
}
