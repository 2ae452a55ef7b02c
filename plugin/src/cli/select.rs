//! Which sessions, where they aren't named.

use clap::Args;

use crate::filter::Target;

/// Which sessions: selectors that the server checks, and filters of the plugin's own.
#[derive(Args, Clone, Debug, Default)]
pub struct Select {
    /// Only sessions whose labels fit, as "a=b,c!=d,e in (f,g)"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Only sessions whose fields fit, as "spec.target=deployment/shop,status.state!=pending"
    #[arg(long = "field-selector", value_name = "SELECTOR")]
    pub fields: Option<String>,
    /// Only sessions of this user, by Kubernetes user name or by the name on their machine. (The user of
    /// the kubeconfig is chosen by a --user before the command.)
    // Another id than that of the connection's flag, which goes by the same name elsewhere.
    #[arg(id = "sessions_of", long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// Only sessions on this target, as deployment/shop or shop
    #[arg(long, value_name = "TARGET")]
    pub target: Option<Target>,
    /// Only your own sessions
    #[arg(long)]
    pub mine: bool,
    /// Only sessions that take traffic of this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Preview environments of mirrord's own operator too
    #[arg(long)]
    pub previews: bool,
}

impl Select {
    /// Whether it leaves out anything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.labels.is_some()
            || self.fields.is_some()
            || self.user.is_some()
            || self.target.is_some()
            || self.mine
            || self.port.is_some()
    }
}
