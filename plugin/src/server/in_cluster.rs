//! In-cluster configuration from the service account of a pod.

use std::path::Path;

use kube::config::{AuthInfo, Cluster, Kubeconfig};

use super::kubeconfig::single_context;

/// Directory where Kubernetes mounts the service account.
pub(super) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Returns the in-cluster configuration as a kubeconfig, or `None` outside a pod.
///
/// The form of a kubeconfig lets the same flags override it.
pub(super) fn kubeconfig(
    account: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Kubeconfig> {
    let non_empty = |name: &str| variable(name).filter(|value| !value.is_empty());
    let file = |name: &str| {
        let path = account.join(name);
        path.is_file().then(|| path.to_string_lossy().into_owned())
    };
    let (host, port) =
        (non_empty("KUBERNETES_SERVICE_HOST")?, non_empty("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    // The client reads the file again when the token expires.
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
    let user = AuthInfo { token_file: Some(token), ..AuthInfo::default() };
    Some(single_context("in-cluster", cluster, user, namespace))
}

#[cfg(test)]
mod tests {
    use super::{super::kubeconfig::SelectedContext, *};
    use crate::cli::ConnectionOptions;

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
        assert!(kubeconfig(account.path(), pod).is_none(), "a pod without a service account");
        write("token", "t");
        write("ca.crt", "c");
        write("namespace", "shop\n");
        assert!(kubeconfig(account.path(), |_| None).is_none(), "outside a pod");
        let config = kubeconfig(account.path(), pod).unwrap();
        let selected = SelectedContext::select(&config, &ConnectionOptions::default()).unwrap();
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
        let selected = SelectedContext::select(&config, &flags).unwrap();
        assert_eq!(selected.cluster.server.as_deref(), Some("https://other"));
        assert_eq!(selected.user.token_file, None);
        assert!(selected.user.token.is_some());
        assert_eq!(selected.user.impersonate.as_deref(), Some("eve"));

        let named = |name: &str| match name {
            "POD_NAMESPACE" => Some("own".to_owned()),
            other => pod(other),
        };
        let config = kubeconfig(account.path(), named).unwrap();
        let selected = SelectedContext::select(&config, &ConnectionOptions::default()).unwrap();
        assert_eq!(selected.namespace.as_deref(), Some("own"));
    }
}
