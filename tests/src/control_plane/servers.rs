//! Command-line flags of the servers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::pki::{FRONT_PROXY, Pki};

/// Maximum length of a Unix socket's path, slightly below the 104 bytes of macOS.
const MAX_SOCKET_PATH: usize = 100;

/// Returns the path of etcd's socket.
///
/// A socket in a private folder is unreachable for other users of the machine and occupies no port.
pub(crate) fn etcd_socket(folder: &Path) -> Result<PathBuf, Error> {
    let socket = folder.join("etcd.sock");
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(Error::FolderTooDeep(folder.to_owned()));
    }
    Ok(socket)
}

pub(crate) fn etcd_flags(folder: &Path, socket: &Path) -> Vec<OsString> {
    // etcd requires a valid peer address even without peers.
    const UNUSED_PEER: &str = "http://127.0.0.1:1";
    let mut flags = Flags::new();
    flags.path("data-dir", &folder.join("etcd"));
    flags.url("listen-client-urls", socket);
    flags.set("advertise-client-urls", UNUSED_PEER);
    flags.set("listen-peer-urls", "http://127.0.0.1:0");
    flags.set("initial-advertise-peer-urls", UNUSED_PEER);
    flags.set("initial-cluster", &format!("default={UNUSED_PEER}"));
    // The data is temporary, so it need not survive a power failure.
    flags.set("unsafe-no-fsync", "true");
    flags.set("log-level", "warn");
    flags.0
}

pub(crate) fn kube_apiserver_flags(pki: &Pki, socket: &Path, port: u16) -> Vec<OsString> {
    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    let mut flags = Flags::new();
    flags.url("etcd-servers", socket);
    flags.set("secure-port", &port.to_string());
    flags.set("bind-address", "127.0.0.1");
    flags.set("advertise-address", "127.0.0.1");
    // Kubernetes rejects a loopback address as an endpoint of the Service `kubernetes`.
    flags.set("endpoint-reconciler-type", "none");
    flags.path("tls-cert-file", &pki.file("apiserver.crt"));
    flags.path("tls-private-key-file", &pki.file("apiserver.key"));
    flags.path("client-ca-file", &pki.file("client-ca.crt"));

    flags.path("requestheader-client-ca-file", &pki.file("front-proxy-ca.crt"));
    flags.set("requestheader-allowed-names", FRONT_PROXY);
    flags.set("requestheader-username-headers", "X-Remote-User");
    flags.set("requestheader-uid-headers", "X-Remote-Uid");
    flags.set("requestheader-group-headers", "X-Remote-Group");
    flags.set("requestheader-extra-headers-prefix", "X-Remote-Extra-");
    flags.path("proxy-client-cert-file", &pki.file("front-proxy.crt"));
    flags.path("proxy-client-key-file", &pki.file("front-proxy.key"));
    // `enable-aggregator-routing` stays off, since it rejects Services of type ExternalName. Such a
    // Service leads to a process on loopback.

    flags.set("service-account-issuer", ISSUER);
    flags.path("service-account-key-file", &pki.file("service-account.pub"));
    flags.path("service-account-signing-key-file", &pki.file("service-account.key"));
    flags.set("service-cluster-ip-range", "10.0.0.0/24");
    flags.set("authorization-mode", "RBAC");
    // mirrord's agents are privileged.
    flags.set("allow-privileged", "true");
    flags.set("profiling", "false");
    flags.0
}

pub(crate) fn kube_controller_manager_flags(pki: &Pki, kubeconfig: &Path) -> Vec<OsString> {
    // Without a kubelet, these three would delete Pods or mark them as failed.
    const CONTROLLERS: &str =
        "*,-pod-garbage-collector-controller,-node-lifecycle-controller,-taint-eviction-controller";
    let mut flags = Flags::new();
    flags.path("kubeconfig", kubeconfig);
    flags.set("controllers", CONTROLLERS);
    flags.set("leader-elect", "false");
    // The default of 20 requests a second delays the start by three seconds.
    flags.set("kube-api-qps", "500");
    flags.set("kube-api-burst", "1000");
    // No client needs its endpoints.
    flags.set("secure-port", "0");
    // As in kubeadm clusters, admission sees a service account for each controller.
    flags.set("use-service-account-credentials", "true");
    flags.path("service-account-private-key-file", &pki.file("service-account.key"));
    flags.path("root-ca-file", &pki.file("serving-ca.crt"));
    flags.path("cluster-signing-cert-file", &pki.file("client-ca.crt"));
    flags.path("cluster-signing-key-file", &pki.file("client-ca.key"));
    flags.0
}

struct Flags(Vec<OsString>);

impl Flags {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.push(format!("--{name}={value}").into());
    }

    fn path(&mut self, name: &str, value: &Path) {
        self.push_path(&format!("--{name}="), value);
    }

    fn url(&mut self, name: &str, socket: &Path) {
        self.push_path(&format!("--{name}=unix://"), socket);
    }

    fn push_path(&mut self, start: &str, path: &Path) {
        let mut flag = OsString::from(start);
        flag.push(path);
        self.0.push(flag);
    }
}
