//! Command line of the webhook process.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use mirrord_sessions_core::{apiserver::ReportPeriod, controller::EventDetail};
use mirrord_sessions_crds::{SYSTEM_NAMESPACE, WEBHOOK_NAME};

/// The admission webhook of mirrord-sessions: stamps each Session with its creator.
///
/// Connects to the cluster that it runs in, or to the cluster of the current kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "mirrord-sessions-webhook", version)]
pub struct Args {
    /// Address to serve HTTPS on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:9443")]
    pub listen: SocketAddr,

    /// Address to serve /livez, /readyz and /metrics on, over plain HTTP. Without it, they are
    /// served on the HTTPS listener alone.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub probe_listen: Option<SocketAddr>,

    /// Serving certificate chain in PEM; reloaded when it changes. Without it, the process creates
    /// its own CA, shares it through Secret mirrord-sessions-webhook-ca, and applies it to the
    /// webhook configurations.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key of the serving certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Namespace of the process and its Service.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Name of the Service through which the API server reaches the process.
    #[arg(long, value_name = "NAME", default_value = WEBHOOK_NAME)]
    pub service: String,

    /// Management of ClusterRole mirrord-operator-auditor by the leader.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = AuditorRole::Manage)]
    pub auditor_role: AuditorRole,

    /// Latest preset version to upgrade the auditor role to, for a staged rollout; default: the
    /// latest version of this release.
    #[arg(long, value_name = "VERSION")]
    pub auditor_preset_version: Option<u32>,

    /// Print the planned change of the auditor role, validated by a dry run of the API server, and
    /// exit.
    #[arg(long)]
    pub dry_run: bool,

    /// Name of this replica in Events and in the Lease of the leader election.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = WEBHOOK_NAME)]
    pub pod_name: String,

    /// Names in the Events about sessions, which every user with the built-in role view reads.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Events::Full)]
    pub events: Events,

    /// Serve session trackers as an aggregated API.
    #[arg(long)]
    pub trackers: bool,

    /// Name of the cluster: tracker.cluster and tracker.kube_cluster in the rules of
    /// SessionPolicies.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cluster_name: String,

    /// Time that ended sessions are shown as terminated; 0 shows none.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub keep_terminated: Duration,

    /// Interval at which owners report their sessions. A session without a report for three
    /// intervals is closed as expired.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_report_period)]
    pub report_period: ReportPeriod,

    /// Time to keep serving after SIGTERM while /readyz fails, so that clients move to another
    /// replica.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub shutdown_delay: Duration,

    /// Time limit for requests in flight to finish after that.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// Format of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Filter directives of the log, for example info, or debug,hyper=warn.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

fn parse_report_period(text: &str) -> Result<ReportPeriod, String> {
    let period = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    ReportPeriod::new(period).ok_or_else(|| "expected whole seconds from 1s to 10m".to_owned())
}

impl Args {
    /// Returns how long trackers show ended sessions: zero if trackers are not served.
    pub(crate) fn ended_session_ttl(&self) -> Duration {
        if self.trackers { self.keep_terminated } else { Duration::ZERO }
    }
}

/// The mode in which the leader manages the auditor role.
///
/// In every mode, a role that an administrator or a GitOps tool has changed or manages is left
/// unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AuditorRole {
    /// Create the role if it is missing, and append the additions of later releases.
    Manage,
    /// Append the additions of later releases; a deleted role stays deleted.
    UpgradeOnly,
    /// Write nothing and report the difference, for a role in a GitOps repository.
    Report,
    /// Neither read nor write the role.
    Off,
}

/// The names in the Events about sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Events {
    /// Name the owner, the target, and the user who stopped a session.
    Full,
    /// Name neither users nor targets.
    Anonymous,
}

impl Events {
    pub(crate) fn detail(self) -> EventDetail {
        match self {
            Self::Full => EventDetail::Full,
            Self::Anonymous => EventDetail::Anonymous,
        }
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines of text for people.
    Text,
    /// Lines of JSON, one object each.
    Json,
}
