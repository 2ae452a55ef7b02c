//! A local control plane: etcd, kube-apiserver and kube-controller-manager on loopback.
//!
//! [`ControlPlane::start`] takes seconds, needs no privileges, and uses only a temporary folder and
//! one port. Everything is cleaned up when the value is dropped and when the process ends, even if
//! it is killed.
//!
//! ```no_run
//! # use mirrord_sessions_tests::control_plane::ControlPlane;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = ControlPlane::shared()?;
//! let developer = plane.kubeconfig("avi@example.com", &["developers"])?;
//! let output = plane.kubectl(developer.path(), &["auth", "whoami"]).await?;
//! assert!(output.stdout.contains("avi@example.com"));
//! # Ok(())
//! # }
//! ```
//!
//! There is no node and no kubelet, so Pods are stored and never run. The API server reaches a
//! webhook or an aggregated API on loopback by `clientConfig.url`, or by a Service of type
//! `ExternalName` with the name `localhost`.

mod assets;
mod build;
mod certificate;
pub mod cli;
mod error;
mod kubeconfig;
mod kubectl;
mod pki;
mod process;
pub(crate) mod progress;
mod readiness;
mod reaper;
mod recipe;
mod servers;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use self::kubeconfig::{Credential, build_kubeconfig};
use self::pki::Pki;
use self::process::Server;
use self::reaper::Reaper;

pub use self::assets::{ASSETS_VARIABLE, Assets, Program};
pub use self::error::Error;
pub use self::kubeconfig::{Identity, KubeconfigFile};
pub use self::kubectl::KubectlOutput;

/// Attempts to start, since another process can take the port between its choice and its use.
const MAX_ATTEMPTS: usize = 5;

/// A running control plane, which stops when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    assets: Assets,
    folder: PathBuf,
    port: u16,
    pki: Pki,
    admin: KubeconfigFile,
    kubeconfigs: AtomicUsize,
    servers: Mutex<Vec<Server>>,
    reaper: Reaper,
}

impl ControlPlane {
    /// Locates or builds the programs and starts the control plane.
    ///
    /// Blocks for seconds, or minutes if programs must be built. May be called in an async context.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&Assets::locate()?)
    }

    /// Starts the control plane from located programs.
    pub fn start_with(assets: &Assets) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::try_start(assets) {
                Err(error) if error.is_port_taken() && attempt < MAX_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Returns the control plane that all tests of a process share.
    ///
    /// The first call starts it. It stops when the process ends.
    pub fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceLock<Result<ControlPlane, Error>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn try_start(assets: &Assets) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("mirrord-sessions-")
            .tempdir()
            .map_err(Error::io("create a temporary folder"))?
            .keep();
        let reaper = Reaper::start(&folder)?;
        let socket = servers::etcd_socket(&folder)?;
        let pki = Pki::create(folder.join("pki"))?;
        let port = free_port()?;
        let admin = KubeconfigFile::write(
            folder.join("admin.yaml"),
            build_kubeconfig(
                &pki,
                &url(port),
                &[("admin", Credential::Certificate(&Identity::admin()))],
            )?,
        )?;
        // On any later error, dropping `plane` stops the started servers.
        let plane = Self {
            assets: assets.clone(),
            folder,
            port,
            pki,
            admin,
            kubeconfigs: AtomicUsize::new(0),
            servers: Mutex::default(),
            reaper,
        };

        let mut etcd = plane.launch(Program::Etcd, servers::etcd_flags(&plane.folder, &socket))?;
        let listening = readiness::wait_for_socket(&mut etcd, &socket);
        plane.lock_servers().push(etcd);
        listening?;
        plane.start_apiserver()?;

        let identity = Identity::new("system:kube-controller-manager", [""; 0]);
        let kubeconfig = plane.kubeconfig_file(&[("", Credential::Certificate(&identity))])?;
        let flags = servers::kube_controller_manager_flags(&plane.pki, kubeconfig.path());
        let mut manager = plane.launch(Program::KubeControllerManager, flags)?;
        let working = readiness::wait_for_controller_manager(&mut manager, &plane.admin);
        plane.lock_servers().push(manager);
        working?;
        Ok(plane)
    }

    fn launch(&self, program: Program, flags: Vec<std::ffi::OsString>) -> Result<Server, Error> {
        let path = self.assets.path(program);
        Server::start(&self.reaper, program, path, flags, &self.folder)
    }

    /// Kills the API server, as a crash would, and keeps its data.
    pub fn stop_apiserver(&self) {
        let mut servers = self.lock_servers();
        servers.retain_mut(|server| {
            let stopped = server.program == Program::KubeApiserver;
            if stopped {
                server.kill();
            }
            !stopped
        });
    }

    /// Restarts the API server on the same port and data, and waits until it is ready.
    pub fn start_apiserver(&self) -> Result<(), Error> {
        self.stop_apiserver();
        let socket = servers::etcd_socket(&self.folder)?;
        let flags = servers::kube_apiserver_flags(&self.pki, &socket, self.port);
        let mut server = self.launch(Program::KubeApiserver, flags)?;
        let ready = readiness::wait_for_apiserver(&mut server, &self.admin);
        self.lock_servers().push(server);
        ready
    }

    /// Returns the URL of the API server, `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Returns the temporary folder, which callers may use and which is removed on stop.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the paths of the programs.
    #[must_use]
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// Returns the path of a server's log.
    #[must_use]
    pub fn log(&self, program: Program) -> PathBuf {
        process::log_path(&self.folder, program)
    }

    /// Registers a process to be killed when the control plane stops, however it stops.
    ///
    /// The owner of the child still has to wait for it.
    pub fn adopt(&self, child: &Child) -> Result<(), Error> {
        self.reaper.register_process(child.id())
    }

    /// Returns the kubeconfig of an administrator (group `system:masters`).
    #[must_use]
    pub fn admin(&self) -> &KubeconfigFile {
        &self.admin
    }

    /// Creates a kubeconfig with a client certificate of a user in the given groups.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<KubeconfigFile, Error> {
        self.kubeconfig_with_contexts(&[(user, Identity::new(user, groups.iter().copied()))])
    }

    /// Creates a kubeconfig with a context for each name. The first context is the current one.
    pub fn kubeconfig_with_contexts(
        &self,
        contexts: &[(&str, Identity)],
    ) -> Result<KubeconfigFile, Error> {
        let contexts: Vec<_> = contexts
            .iter()
            .map(|(name, identity)| (*name, Credential::Certificate(identity)))
            .collect();
        self.kubeconfig_file(&contexts)
    }

    /// Creates a kubeconfig with a token of an existing service account, valid for a day.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<KubeconfigFile, Error> {
        let api = Api::<ServiceAccount>::namespaced(self.admin.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(24 * 60 * 60),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let response = api.create_token_request(name, &PostParams::default(), &request).await?;
        let token = response.status.and_then(|status| status.token).ok_or_else(|| {
            Error::Kubeconfig(format!("the API server returned no token for {namespace}/{name}"))
        })?;
        self.kubeconfig_file(&[(name, Credential::Token(token))])
    }

    /// Returns a client for a user in the given groups. See [`KubeconfigFile::client`].
    pub async fn client(&self, user: &str, groups: &[&str]) -> Result<Client, Error> {
        self.kubeconfig(user, groups)?.client().await
    }

    fn kubeconfig_file(
        &self,
        contexts: &[(&str, Credential<'_>)],
    ) -> Result<KubeconfigFile, Error> {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("kubeconfig-{number}.yaml"));
        KubeconfigFile::write(path, build_kubeconfig(&self.pki, &self.url(), contexts)?)
    }

    fn lock_servers(&self) -> std::sync::MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.reaper.reap();
        let servers = self.servers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for server in servers {
            // Waits for the killed process. Kills it only if the reaper itself was killed.
            server.kill();
        }
        // The folder still exists only if the reaper was killed.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("find a free port on 127.0.0.1"))
}
