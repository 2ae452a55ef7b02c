//! Options of the command `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mirrord_sessions_core::policy::Verb;

use super::NamespaceArgs;

/// The commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the sessions that policies let a user see, and the rule that decides
    ///
    /// Here --as, --as-group, --as-uid and --as-user-extra name the user to test, without
    /// impersonation. Groups that the API server adds are added, such as those of a service account
    /// without --as-group. The sessions are those of --sessions, or those that you see in the
    /// cluster. Only the policies of the files count, not those of the cluster, and RBAC must allow
    /// the verb in addition.
    #[command(after_help = "Examples:
  # Which of the sessions in this namespace would a policy show to Eve?
  kubectl mirrord-sessions policy test -f policy.yaml --as eve@example.com --as-group devs

  # The same without a cluster
  kubectl get sessiontrackers -A -o yaml > sessions.yaml
  kubectl mirrord-sessions policy test -f policy.yaml --sessions sessions.yaml --as eve@example.com

  # Whom may Eve stop?
  kubectl mirrord-sessions policy test -f policy.yaml --as eve@example.com --verb delete -A")]
    Test(TestArgs),
}

/// Options of `policy test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Files with SessionPolicies, as YAML or JSON; - is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    /// File with sessions or session trackers, as YAML or JSON, instead of those of the cluster; -
    /// is standard input
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,
    /// Action of the user to test
    #[arg(long, value_enum, value_name = "VERB", default_value = "list")]
    pub verb: TestVerb,
    /// Name of the cluster for tracker.cluster, as in the webhook's --cluster-name
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cluster_name: String,
    /// The namespaces to search.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Output format, instead of plain columns
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<TestFormat>,
}

/// The action to test.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TestVerb {
    /// See it in a list or watch
    List,
    /// Get it by name
    Read,
    /// Stop the session by name
    Delete,
    /// Join the session by name
    Join,
}

impl From<TestVerb> for Verb {
    fn from(verb: TestVerb) -> Self {
        match verb {
            TestVerb::List => Self::List,
            TestVerb::Read => Self::Read,
            TestVerb::Delete => Self::Delete,
            TestVerb::Join => Self::Join,
        }
    }
}

/// The output formats of `policy test`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TestFormat {
    /// Output in JSON format
    Json,
    /// Output in YAML format
    Yaml,
    /// The names of the visible sessions
    Name,
}
