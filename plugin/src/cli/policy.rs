//! `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mirrord_sessions_core::policy::Verb;

use super::Everywhere;

/// What can be asked of policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show which sessions policies show to somebody, and by which rule
    ///
    /// Here --as, --as-group, --as-uid and --as-user-extra say about whom: they impersonate nobody.
    /// Groups that the API server adds are added, as those of a service account where no --as-group
    /// is given. The sessions are those of --sessions, or else those of the cluster as you see them
    /// yourself. Only the policies of the files count, and none that the cluster has; RBAC must
    /// allow the verb besides.
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

/// What `policy test` takes.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Files with SessionPolicies, as YAML or JSON; - is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    /// File with sessions or session trackers, as YAML or JSON, instead of those of the cluster; -
    /// is standard input
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,
    /// What the requester would do
    #[arg(long, value_enum, value_name = "VERB", default_value = "list")]
    pub verb: TestVerb,
    /// The cluster's name as the webhook is told it, for tracker.cluster
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cluster_name: String,
    /// Where to look.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// How to show it, instead of in plain columns
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<TestFormat>,
}

/// What the requester would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TestVerb {
    /// Have it in a list or watch
    List,
    /// Get it by name
    Read,
    /// Stop it
    Delete,
    /// Join it
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

/// How the outcome is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TestFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// The names of the sessions that are visible
    Name,
}
