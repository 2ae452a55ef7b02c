//! The servers' flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::pki::{FRONT_PROXY, Pki};

/// The limit of a socket's address, macOS' being the lower one, less some for its terminator.
const SOCKET_PATH: usize = 100;

/// etcd's socket: in a folder of ours, no other user of the machine reaches it, and no port is
/// taken that somebody else might want.
pub(crate) fn etcd_socket(folder: &Path) -> Result<PathBuf, Error> {
    let socket = folder.join("etcd.sock");
    if socket.as_os_str().len() > SOCKET_PATH {
        return Err(Error::FolderTooDeep(folder.to_owned()));
    }
    Ok(socket)
}

pub(crate) fn etcd(folder: &Path, socket: &Path) -> Vec<OsString> {
    // Peers have to have an address that looks like one, though there are none.
    const NOWHERE: &str = "http://127.0.0.1:1";
    let mut flags = Flags::new();
    flags.path("data-dir", &folder.join("etcd"));
    flags.url("listen-client-urls", socket);
    flags.set("advertise-client-urls", NOWHERE);
    flags.set("listen-peer-urls", "http://127.0.0.1:0");
    flags.set("initial-advertise-peer-urls", NOWHERE);
    flags.set("initial-cluster", &format!("default={NOWHERE}"));
    // Throw-away data: what a power cut would lose is not missed.
    flags.set("unsafe-no-fsync", "true");
    flags.set("log-level", "warn");
    flags.0
}

pub(crate) fn kube_apiserver(pki: &Pki, socket: &Path, port: u16) -> Vec<OsString> {
    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    let mut flags = Flags::new();
    flags.url("etcd-servers", socket);
    flags.set("secure-port", &port.to_string());
    flags.set("bind-address", "127.0.0.1");
    flags.set("advertise-address", "127.0.0.1");
    // A loopback address may not be an endpoint of the Service `kubernetes`.
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
    // `enable-aggregator-routing` stays off: it would refuse Services of type ExternalName, by
    // which a process on loopback is reached.

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

pub(crate) fn kube_controller_manager(pki: &Pki, kubeconfig: &Path) -> Vec<OsString> {
    // Nothing runs the pods here: these three would delete them, or mark them as failed.
    const CONTROLLERS: &str =
        "*,-pod-garbage-collector-controller,-node-lifecycle-controller,-taint-eviction-controller";
    let mut flags = Flags::new();
    flags.path("kubeconfig", kubeconfig);
    flags.set("controllers", CONTROLLERS);
    flags.set("leader-elect", "false");
    // The default, 20 a second, makes its start three seconds longer.
    flags.set("kube-api-qps", "500");
    flags.set("kube-api-burst", "1000");
    // Serves nothing, so needs no port.
    flags.set("secure-port", "0");
    // As in clusters made by kubeadm: admission sees each controller under its own name.
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
        self.joined(&format!("--{name}="), value);
    }

    fn url(&mut self, name: &str, socket: &Path) {
        self.joined(&format!("--{name}=unix://"), socket);
    }

    fn joined(&mut self, start: &str, path: &Path) {
        let mut flag = OsString::from(start);
        flag.push(path);
        self.0.push(flag);
    }
}
