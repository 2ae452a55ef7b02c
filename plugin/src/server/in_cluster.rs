//! In-cluster configuration from the service account of a pod.

use std::path::Path;

use super::kubeconfig::{Cluster, SelectedContext, User};
use crate::{cli::ConnectionOptions, error::Error};

/// Directory where Kubernetes mounts the service account.
pub(super) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Cluster, user and namespace of a pod.
pub(super) struct InCluster {
    cluster: Cluster,
    user: User,
    namespace: Option<String>,
}

impl InCluster {
    /// Returns the in-cluster configuration, or `None` outside a pod.
    pub(super) fn find(account: &Path, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let non_empty = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = |name: &str| {
            let path = account.join(name);
            path.is_file().then(|| path.to_string_lossy().into_owned())
        };
        let (host, port) =
            (non_empty("KUBERNETES_SERVICE_HOST")?, non_empty("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        // The client reads the file again before the token expires.
        let token = file("token")?;
        let namespace = non_empty("POD_NAMESPACE").or_else(|| {
            let namespace = std::fs::read_to_string(account.join("namespace")).ok()?;
            Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
        });
        let cluster = Cluster {
            server: Some(format!("https://{host}:{port}")),
            certificate_authority: file("ca.crt"),
            ..Cluster::default()
        };
        let user = User { token_file: Some(token), ..User::default() };
        Some(Self { cluster, user, namespace })
    }

    /// Applies the flags to the configuration.
    ///
    /// # Errors
    /// Fails if the flags contradict each other, or name files that cannot be read.
    pub(super) fn select(self, flags: &ConnectionOptions) -> Result<SelectedContext, Error> {
        let Self { cluster, user, namespace } = self;
        let credentials = "this pod's service account".to_owned();
        SelectedContext { cluster, user, namespace, credentials }
            .with_flags(("in-cluster", "in-cluster"), flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_override_the_in_cluster_configuration() {
        let account = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(account.path().join(name), text).unwrap();
        };
        let pod = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        };
        assert!(InCluster::find(account.path(), pod).is_none(), "a pod without a service account");
        write("token", "t");
        write("ca.crt", "c");
        write("namespace", "shop\n");
        assert!(InCluster::find(account.path(), |_| None).is_none(), "outside a pod");
        let select = |flags: &ConnectionOptions| {
            InCluster::find(account.path(), pod).unwrap().select(flags).unwrap()
        };
        let selected = select(&ConnectionOptions::default());
        assert_eq!(selected.cluster.server.as_deref(), Some("https://[fd00::1]:443"));
        assert!(selected.cluster.certificate_authority.unwrap().ends_with("ca.crt"));
        assert!(selected.user.token_file.unwrap().ends_with("token"));
        assert_eq!(selected.namespace.as_deref(), Some("shop"));

        let flags = ConnectionOptions {
            server: Some("https://other".into()),
            token: Some("own".into()),
            impersonate: Some("eve".into()),
            ..ConnectionOptions::default()
        };
        let selected = select(&flags);
        assert_eq!(selected.cluster.server.as_deref(), Some("https://other"));
        assert_eq!(selected.user.token_file, None);
        assert!(selected.user.token.is_some());
        assert_eq!(selected.user.impersonation.user.as_deref(), Some("eve"));

        let named = |name: &str| match name {
            "POD_NAMESPACE" => Some("own".to_owned()),
            other => pod(other),
        };
        let config = InCluster::find(account.path(), named).unwrap();
        let selected = config.select(&ConnectionOptions::default()).unwrap();
        assert_eq!(selected.namespace.as_deref(), Some("own"));
    }
}
