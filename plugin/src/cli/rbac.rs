//! Options of the command `rbac`.

use clap::{Args, Subcommand, ValueEnum};

use super::{NamespaceArgs, auditor::ObjectFormat};

/// The commands about RBAC.
#[derive(Debug, Subcommand)]
pub enum RbacCommand {
    /// Show the users, groups and service accounts that may do something, each with its binding
    ///
    /// Reads the roles and bindings of RBAC. Other authorizers, and the members of groups, are not
    /// considered. SessionPolicies may restrict the result further: see "policy test".
    #[command(after_help = "Examples:
  # Who may stop sessions in namespace shop
  kubectl mirrord-sessions rbac who-can kill -n shop

  # Who may see sessions, anywhere
  kubectl mirrord-sessions rbac who-can list -A")]
    WhoCan(WhoCanArgs),
}

/// Options of `rbac who-can`.
#[derive(Args, Clone, Copy, Debug)]
pub struct WhoCanArgs {
    /// Action on sessions to check
    #[arg(value_enum, value_name = "WHAT")]
    pub what: SessionAction,
    /// The namespaces to check.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Output format, instead of columns
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<ObjectFormat>,
}

/// The actions on sessions that RBAC controls.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum SessionAction {
    /// See the list of sessions
    List,
    /// See a single session
    Read,
    /// Stop sessions of any user
    Kill,
    /// Join sessions of other users
    Join,
}

impl SessionAction {
    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Kill => "kill",
            Self::Join => "join",
        }
    }
}
