//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use mirrord_sessions_core::apiserver::ReportPeriod;
use mirrord_sessions_crds::{SYSTEM_NAMESPACE, WEBHOOK_NAME};

/// The admission webhook of mirrord-sessions: stamps each Session with who created it.
///
/// Talks to the cluster it runs in, or to the one of the current kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "mirrord-sessions-webhook", version)]
pub struct Args {
    /// Address to serve HTTPS on.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:9443")]
    pub listen: SocketAddr,

    /// Certificate chain to serve with, in PEM; read again when it changes. Without it, the process
    /// makes its own CA, shares it through Secret mirrord-sessions-webhook-ca, and puts it into the
    /// webhook configuration.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Namespace that the process and its Service are in.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Name of the Service that the API server calls.
    #[arg(long, value_name = "NAME", default_value = WEBHOOK_NAME)]
    pub service: String,

    /// What to do about ClusterRole mirrord-operator-auditor at start-up.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = AuditorRole::Manage)]
    pub auditor_role: AuditorRole,

    /// Upgrade the auditor role to this version of its preset at most, to roll a new one out in
    /// stages; without it, to the latest.
    #[arg(long, value_name = "VERSION")]
    pub auditor_preset_version: Option<u32>,

    /// Print what would be done to the auditor role, after the API server has tried it and written
    /// nothing, and exit.
    #[arg(long)]
    pub dry_run: bool,

    /// This replica's name in Events and in the Lease of the leader.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = WEBHOOK_NAME)]
    pub pod_name: String,

    /// Serve session trackers as an aggregated API.
    #[arg(long)]
    pub trackers: bool,

    /// The cluster's name: tracker.cluster and tracker.kube_cluster in the rules of
    /// SessionPolicies.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cluster_name: String,

    /// How long to show sessions that have ended, as terminated; 0 to show none.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub keep_terminated: Duration,

    /// How often to ask the owners of sessions to report about them. A session that was not heard
    /// of for three of these is closed as expired.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = pace)]
    pub report_period: ReportPeriod,

    /// How long to go on serving after SIGTERM while /readyz already fails, so that no new
    /// connection is sent here.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub shutdown_delay: Duration,

    /// How long requests under way may take to finish after that.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// Format of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log, as tracing's filter directives: info, or debug,hyper=warn.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

fn pace(text: &str) -> Result<ReportPeriod, String> {
    let period = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    ReportPeriod::new(period).ok_or_else(|| "expected whole seconds from 1s to 10m".to_owned())
}

impl Args {
    /// For how long sessions that have ended are shown: by trackers, where these are served.
    pub(crate) fn keeps(&self) -> Duration {
        if self.trackers { self.keep_terminated } else { Duration::ZERO }
    }
}

/// What the leader does about the auditor role. Whatever it is, a role that an administrator or a
/// GitOps tool has changed or manages is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AuditorRole {
    /// Create it where there is none, and append what a later release adds.
    Manage,
    /// Append what a later release adds; a role that was deleted stays deleted.
    UpgradeOnly,
    /// Write nothing and report how it differs: for roles that a GitOps repository holds.
    Report,
    /// Don't look at it.
    Off,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
