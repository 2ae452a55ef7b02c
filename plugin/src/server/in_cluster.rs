//! The configuration that Kubernetes puts into every pod.

use std::path::Path;

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

/// Where a pod finds its service account.
pub(super) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubeconfig that says what a pod's surroundings say, so that the same flags override it;
/// nothing outside a pod.
pub(super) fn kubeconfig(
    account: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Kubeconfig> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let file = |name: &str| {
        let path = account.join(name);
        path.is_file().then(|| path.to_string_lossy().into_owned())
    };
    let (host, port) = (set("KUBERNETES_SERVICE_HOST")?, set("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    // Read again by the client when it changes: the tokens of service accounts expire.
    let token = file("token")?;
    let namespace = set("POD_NAMESPACE").or_else(|| {
        let namespace = std::fs::read_to_string(account.join("namespace")).ok()?;
        Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
    });
    let name = || "in-cluster".to_owned();
    Some(Kubeconfig {
        clusters: vec![NamedCluster {
            name: name(),
            cluster: Some(Cluster {
                server: Some(format!("https://{host}:{port}")),
                certificate_authority: file("ca.crt"),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(AuthInfo { token_file: Some(token), ..AuthInfo::default() }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(Context {
                cluster: name(),
                user: Some(name()),
                namespace,
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::{super::connect::Connection, super::kubeconfig::Selected, *};

    #[test]
    fn a_pod_has_all_that_is_needed_and_flags_override_it() {
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
        assert!(kubeconfig(account.path(), |_| None).is_none(), "no pod at all");
        let config = kubeconfig(account.path(), pod).unwrap();
        let selected = Selected::of(&config, &Connection::default()).unwrap();
        assert_eq!(selected.cluster.server.as_deref(), Some("https://[fd00::1]:443"));
        assert!(selected.cluster.certificate_authority.unwrap().ends_with("ca.crt"));
        assert!(selected.user.token_file.unwrap().ends_with("token"));
        assert_eq!(selected.namespace.as_deref(), Some("shop"));

        let flags = Connection {
            server: Some("https://other".into()),
            token: Some("own".into()),
            impersonate: Some("eve".into()),
            ..Connection::default()
        };
        let selected = Selected::of(&config, &flags).unwrap();
        assert_eq!(selected.cluster.server.as_deref(), Some("https://other"));
        assert_eq!(selected.user.token_file, None);
        assert!(selected.user.token.is_some());
        assert_eq!(selected.user.impersonate.as_deref(), Some("eve"));

        let named = |name: &str| match name {
            "POD_NAMESPACE" => Some("own".to_owned()),
            other => pod(other),
        };
        let config = kubeconfig(account.path(), named).unwrap();
        let selected = Selected::of(&config, &Connection::default()).unwrap();
        assert_eq!(selected.namespace.as_deref(), Some("own"));
    }
}
