//! A control plane of one's own: etcd, kube-apiserver and kube-controller-manager on loopback.
//!
//! [`ControlPlane::start`] takes seconds, needs no privileges, and touches nothing but a temporary
//! folder and one port. Everything ends with the value, and with the process however that ends.
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
//! No node and no kubelet is there: Pods are stored, never run. A webhook or an aggregated API that
//! listens on loopback is reached by `clientConfig.url`, or by a Service of type `ExternalName` for
//! `localhost`.

mod assets;
mod build;
mod certificate;
pub mod cli;
mod error;
mod keeper;
mod kubeconfig;
mod kubectl;
mod pki;
mod process;
mod progress;
mod ready;
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

use self::keeper::Keeper;
use self::kubeconfig::{Credential, compose};
use self::pki::Pki;
use self::process::Server;

pub use self::assets::{ASSETS_VARIABLE, Assets, Program};
pub use self::error::Error;
pub use self::kubeconfig::{Identity, KubeconfigFile};
pub use self::kubectl::KubectlOutput;

/// A port that is free when chosen can be taken before it is used.
const ATTEMPTS: usize = 5;

/// A running control plane, ended by dropping it.
#[derive(Debug)]
pub struct ControlPlane {
    assets: Assets,
    folder: PathBuf,
    port: u16,
    pki: Pki,
    admin: KubeconfigFile,
    kubeconfigs: AtomicUsize,
    servers: Mutex<Vec<Server>>,
    keeper: Keeper,
}

impl ControlPlane {
    /// Finds the programs, building what is missing, and starts. Blocks for some seconds, in an
    /// async context too.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&Assets::locate()?)
    }

    /// Starts with programs already found.
    pub fn start_with(assets: &Assets) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::attempt(assets) {
                Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// One control plane for all tests of a process, started by the first to ask. It ends with the
    /// process.
    pub fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceLock<Result<ControlPlane, Error>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn attempt(assets: &Assets) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("mirrord-sessions-")
            .tempdir()
            .map_err(Error::io("create a temporary folder"))?
            .keep();
        let keeper = Keeper::start(&folder)?;
        let socket = servers::etcd_socket(&folder)?;
        let pki = Pki::create(folder.join("pki"))?;
        let port = free_port()?;
        let admin = KubeconfigFile::write(
            folder.join("admin.yaml"),
            compose(&pki, &url(port), &[("admin", Credential::Certificate(&Identity::admin()))])?,
        )?;
        // From here on, dropping it ends what was started.
        let plane = Self {
            assets: assets.clone(),
            folder,
            port,
            pki,
            admin,
            kubeconfigs: AtomicUsize::new(0),
            servers: Mutex::default(),
            keeper,
        };

        let mut etcd = plane.launch(Program::Etcd, servers::etcd(&plane.folder, &socket))?;
        let listening = ready::socket(&mut etcd, &socket);
        plane.lock_servers().push(etcd);
        listening?;
        plane.start_apiserver()?;

        let identity = Identity::new("system:kube-controller-manager", [""; 0]);
        let kubeconfig = plane.kubeconfig_file(&[("", Credential::Certificate(&identity))])?;
        let flags = servers::kube_controller_manager(&plane.pki, kubeconfig.path());
        let mut manager = plane.launch(Program::KubeControllerManager, flags)?;
        let working = ready::controller_manager(&mut manager, &plane.admin);
        plane.lock_servers().push(manager);
        working?;
        Ok(plane)
    }

    fn launch(&self, program: Program, flags: Vec<std::ffi::OsString>) -> Result<Server, Error> {
        let path = self.assets.path(program);
        Server::start(&self.keeper, program, path, flags, &self.folder)
    }

    /// Ends the API server at once, as a crash would. Its data stays.
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

    /// Starts the API server again, on its port and data, and waits until it is ready.
    pub fn start_apiserver(&self) -> Result<(), Error> {
        self.stop_apiserver();
        let socket = servers::etcd_socket(&self.folder)?;
        let flags = servers::kube_apiserver(&self.pki, &socket, self.port);
        let mut server = self.launch(Program::KubeApiserver, flags)?;
        let ready = ready::apiserver(&mut server, &self.admin);
        self.lock_servers().push(server);
        ready
    }

    /// Where the API server is: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The temporary folder, gone with the control plane. Others may keep files in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the programs are.
    #[must_use]
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// A server's log, in the folder.
    #[must_use]
    pub fn log(&self, program: Program) -> PathBuf {
        process::log_path(&self.folder, program)
    }

    /// From now on, this process is killed when the control plane ends, however it ends. Reaping it
    /// stays with whoever holds the child.
    pub fn adopt(&self, child: &Child) -> Result<(), Error> {
        self.keeper.keep_process(child.id())
    }

    /// The kubeconfig of an administrator (group `system:masters`).
    #[must_use]
    pub fn admin(&self) -> &KubeconfigFile {
        &self.admin
    }

    /// A kubeconfig for a user of these groups, with a client certificate.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<KubeconfigFile, Error> {
        self.kubeconfig_with_contexts(&[(user, Identity::new(user, groups.iter().copied()))])
    }

    /// A kubeconfig with a context for each name, of which the first is the current one.
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

    /// A kubeconfig for a service account that exists, with a token for a day.
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
        let answer = api.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .ok_or_else(|| Error::Kubeconfig(format!("no token came for {namespace}/{name}")))?;
        self.kubeconfig_file(&[(name, Credential::Token(token))])
    }

    /// A client for a user of these groups; see [`KubeconfigFile::client`].
    pub async fn client(&self, user: &str, groups: &[&str]) -> Result<Client, Error> {
        self.kubeconfig(user, groups)?.client().await
    }

    fn kubeconfig_file(
        &self,
        contexts: &[(&str, Credential<'_>)],
    ) -> Result<KubeconfigFile, Error> {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("kubeconfig-{number}.yaml"));
        KubeconfigFile::write(path, compose(&self.pki, &self.url(), contexts)?)
    }

    fn lock_servers(&self) -> std::sync::MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.keeper.finish();
        let servers = self.servers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for server in servers {
            // Reaps it; kills it only if somebody has killed the keeper.
            server.kill();
        }
        // Only if the keeper could not.
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
