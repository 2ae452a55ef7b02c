//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
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

/// Format of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
