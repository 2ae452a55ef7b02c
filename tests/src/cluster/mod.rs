//! A cluster with mirrord-sessions installed from its own manifests.
//!
//! The webhook is the real process, under its real service account and through its Service; what a
//! cluster would do and a control plane without nodes can't (run the Deployment's pods) is done
//! here: the process is a child, and the Service an ExternalName for `localhost`.

mod build;
mod install;
mod webhook;

use std::{path::PathBuf, sync::OnceLock};

use crate::control_plane::{ControlPlane, Error as ControlPlaneError, KubectlOutput};

pub use build::Programs;
pub use webhook::Webhook;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane failed.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// `cargo build` failed.
    #[error("the webhook and the plugin could not be built: {0}")]
    Build(String),
    /// kubectl refused a step of the installation.
    #[error("kubectl {what}: {stderr}")]
    Kubectl {
        /// What was asked.
        what: String,
        /// kubectl's answer.
        stderr: String,
    },
    /// A manifest isn't what the installation expects.
    #[error("manifests: {0}")]
    Manifests(String),
    /// The webhook did not start.
    #[error("the webhook did not start; its log, {log}, ends with:\n{tail}", log = log.display())]
    Webhook {
        /// The log file.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// A condition that should have come about did not.
    #[error("waited {seconds} s in vain until {what}; last: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A control plane with the CRDs, the manifests and a running webhook.
#[derive(Debug)]
pub struct Cluster {
    /// The control plane.
    pub plane: ControlPlane,
    /// The webhook and the plugin.
    pub programs: Programs,
    /// The webhook process that the Service leads to.
    pub webhook: Webhook,
}

impl Cluster {
    /// Starts a control plane and installs everything. Takes some seconds.
    ///
    /// # Errors
    /// Whatever went wrong first, in words that say what to do.
    pub async fn start() -> Result<Self, Error> {
        let programs = Programs::build()?;
        let plane = ControlPlane::start()?;
        Self::install(plane, programs).await
    }

    /// Installs everything on a control plane that has nothing yet.
    ///
    /// # Errors
    /// Whatever went wrong first.
    pub async fn install(plane: ControlPlane, programs: Programs) -> Result<Self, Error> {
        install::base(&plane).await?;
        let webhook = Webhook::start(&plane, &programs).await?;
        install::route_webhook(&plane, webhook.port()).await?;
        let cluster = Self { plane, programs, webhook };
        cluster.wait_until_stamped().await?;
        Ok(cluster)
    }

    /// One cluster for all tests of a process, started by the first to ask; it ends with the
    /// process.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn shared() -> Result<&'static Self, &'static Error> {
        static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                // Tests call from within their own runtimes, and each of these ends with its test.
                std::thread::scope(|scope| {
                    let starting = scope.spawn(|| {
                        let runtime =
                            tokio::runtime::Builder::new_current_thread().enable_all().build();
                        match runtime {
                            Ok(runtime) => runtime.block_on(Self::start()),
                            Err(source) => Err(Error::Io { what: "a runtime".into(), source }),
                        }
                    });
                    starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })
            .as_ref()
    }

    /// Runs kubectl as an administrator, and fails if it does.
    ///
    /// # Errors
    /// kubectl's own.
    pub async fn admin(&self, args: &[&str], input: &str) -> Result<String, Error> {
        install::kubectl(&self.plane, args, input).await
    }

    /// Deletes the webhook configuration, as an administrator or a mistake may, and waits until the
    /// API server asks the webhook no more: then the guard policy refuses what has no owner.
    ///
    /// # Errors
    /// kubectl's own.
    pub async fn delete_webhook_configuration(&self) -> Result<(), Error> {
        let name = mirrord_sessions_crds::WEBHOOK_NAME;
        self.admin(&["delete", "mutatingwebhookconfiguration", name], "").await?;
        install::wait_until_guarded(&self.plane).await
    }

    /// Applies the webhook configuration, again if need be, so that it leads to this process, and
    /// waits until Sessions are stamped.
    ///
    /// # Errors
    /// kubectl's own.
    pub async fn route_to(&self, webhook: &Webhook) -> Result<(), Error> {
        install::route_webhook(&self.plane, webhook.port()).await?;
        self.wait_until_stamped().await
    }

    async fn wait_until_stamped(&self) -> Result<(), Error> {
        install::wait_until("the webhook stamps Sessions", || async {
            let output = install::try_create(&self.plane).await?;
            Ok(stamped(&output))
        })
        .await
    }
}

fn stamped(output: &KubectlOutput) -> Result<(), String> {
    if output.status.success() { Ok(()) } else { Err(output.stderr.clone()) }
}
