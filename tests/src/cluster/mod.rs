//! A cluster with mirrord-sessions installed from its own manifests.
//!
//! The webhook is the real process. It runs under its real service account and is reached through
//! its Service. A control plane without nodes cannot run the Pods of the webhook's Deployment.
//! Therefore the process is a child of this process, and the Service is an ExternalName for
//! `localhost`.

mod build;
mod install;
mod webhook;

use std::{path::PathBuf, sync::OnceLock};

use crate::control_plane::{ControlPlane, Error as ControlPlaneError, KubectlOutput};

pub(crate) use build::DEBUG_ESTIMATE;
pub use build::Programs;
pub use webhook::Webhook;

/// An error during the start or the use of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane returned an error.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// Cargo could not build the programs.
    #[error("the webhook and the plugin could not be built: {0}")]
    Build(String),
    /// A kubectl command failed.
    #[error("kubectl {args}: {stderr}")]
    Kubectl {
        /// Arguments of the command.
        args: String,
        /// Standard error of kubectl.
        stderr: String,
    },
    /// The manifests differ from what the installation expects.
    #[error("manifests: {0}")]
    Manifests(String),
    /// The webhook did not start.
    #[error("the webhook did not start; last lines of {log}:\n{tail}", log = log.display())]
    Webhook {
        /// Path of the log.
        log: PathBuf,
        /// Last lines of the log.
        tail: String,
    },
    /// A condition was not met in time.
    #[error("timed out after {seconds} s waiting until {condition}; last result: {last}")]
    Timeout {
        /// The condition that was not met.
        condition: String,
        /// Seconds until the timeout.
        seconds: u64,
        /// The result of the last check.
        last: String,
    },
    /// An operation on a file or a process failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The cause of the failure.
        source: std::io::Error,
    },
}

/// A control plane with the CRDs, the manifests and a running webhook.
#[derive(Debug)]
pub struct Cluster {
    /// Control plane of the cluster.
    pub plane: ControlPlane,
    /// Built webhook and plugin.
    pub programs: Programs,
    /// Webhook process that the Service routes to.
    pub webhook: Webhook,
}

impl Cluster {
    /// Builds the programs, starts a control plane and installs everything on it.
    ///
    /// # Errors
    /// Returns the first error of the build, the start or the installation.
    pub async fn start() -> Result<Self, Error> {
        let programs = Programs::build()?;
        let plane = ControlPlane::start()?;
        Self::install(plane, programs).await
    }

    /// Installs everything on an empty control plane.
    ///
    /// # Errors
    /// Returns the first error of the installation.
    pub async fn install(plane: ControlPlane, programs: Programs) -> Result<Self, Error> {
        install::install_base(&plane).await?;
        let webhook = Webhook::start(&plane, &programs).await?;
        install::route_webhook(&plane, webhook.port()).await?;
        let cluster = Self { plane, programs, webhook };
        cluster.wait_for_stamps().await?;
        Ok(cluster)
    }

    /// Returns the cluster that all tests of a process share.
    ///
    /// The first call starts it. It stops when the process ends.
    ///
    /// # Errors
    /// Fails under the conditions of [`Cluster::start`].
    pub fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                // Each caller is inside the runtime of its test, which ends with that test.
                std::thread::scope(|scope| {
                    let starting = scope.spawn(|| {
                        let runtime =
                            tokio::runtime::Builder::new_current_thread().enable_all().build();
                        match runtime {
                            Ok(runtime) => runtime.block_on(Self::start()),
                            Err(source) => {
                                Err(Error::Io { what: "start a runtime".into(), source })
                            }
                        }
                    });
                    starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })
            .as_ref()
    }

    /// Runs kubectl as an administrator and returns its standard output.
    ///
    /// # Errors
    /// Returns the standard error of a command that fails.
    pub async fn admin(&self, args: &[&str], input: &str) -> Result<String, Error> {
        install::kubectl(&self.plane, args, input).await
    }

    /// Deletes the mutating webhook configuration and waits until the API server stops calling it.
    ///
    /// From then on, the guard policy denies Sessions without an owner.
    ///
    /// # Errors
    /// Returns an error if kubectl fails or the change does not take effect in time.
    pub async fn delete_webhook_configuration(&self) -> Result<(), Error> {
        let name = mirrord_sessions_crds::WEBHOOK_NAME;
        self.admin(&["delete", "mutatingwebhookconfiguration", name], "").await?;
        install::wait_for_guard_policy(&self.plane).await
    }

    /// Applies the webhook configuration with a route to the given process, and waits until the
    /// webhook stamps Sessions.
    ///
    /// # Errors
    /// Returns an error if kubectl fails or the change does not take effect in time.
    pub async fn route_to(&self, webhook: &Webhook) -> Result<(), Error> {
        install::route_webhook(&self.plane, webhook.port()).await?;
        self.wait_for_stamps().await
    }

    async fn wait_for_stamps(&self) -> Result<(), Error> {
        install::wait_until("the webhook stamps Sessions", || async {
            let output = install::dry_run_create(&self.plane).await?;
            Ok(check_stamped(&output))
        })
        .await
    }
}

/// Returns the error of kubectl if admission denied the Session.
fn check_stamped(output: &KubectlOutput) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(output.stderr.clone()) }
}
