//! Runs the webhook as a child process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mirrord_sessions_crds::{SYSTEM_NAMESPACE, WEBHOOK_NAME};

use super::{Error, Programs};
use crate::control_plane::ControlPlane;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running webhook process, killed when dropped.
#[derive(Debug)]
pub struct Webhook {
    child: Mutex<Child>,
    port: u16,
    log: PathBuf,
}

impl Webhook {
    /// Starts the process under its service account, on a free loopback port.
    ///
    /// # Errors
    /// Returns an error that quotes the log if the process does not start.
    pub async fn start(plane: &ControlPlane, programs: &Programs) -> Result<Self, Error> {
        Self::start_with(plane, programs, &[]).await
    }

    /// Starts the process with additional arguments.
    ///
    /// # Errors
    /// Fails under the conditions of [`Webhook::start`].
    pub async fn start_with(
        plane: &ControlPlane,
        programs: &Programs,
        args: &[&str],
    ) -> Result<Self, Error> {
        let kubeconfig = plane.service_account_kubeconfig(SYSTEM_NAMESPACE, WEBHOOK_NAME).await?;
        Self::start_with_kubeconfig(plane, programs, kubeconfig.path(), args).await
    }

    /// Starts the process as the overlay without trackers does.
    ///
    /// # Errors
    /// Fails under the conditions of [`Webhook::start`].
    pub async fn start_without_trackers(
        plane: &ControlPlane,
        programs: &Programs,
    ) -> Result<Self, Error> {
        let kubeconfig = plane.service_account_kubeconfig(SYSTEM_NAMESPACE, WEBHOOK_NAME).await?;
        Self::launch(plane, programs, kubeconfig.path(), &[]).await
    }

    /// Starts the process with another kubeconfig and additional arguments.
    ///
    /// # Errors
    /// Fails under the conditions of [`Webhook::start`].
    pub async fn start_with_kubeconfig(
        plane: &ControlPlane,
        programs: &Programs,
        kubeconfig: &Path,
        args: &[&str],
    ) -> Result<Self, Error> {
        let args = [&["--trackers"], args].concat();
        Self::launch(plane, programs, kubeconfig, &args).await
    }

    async fn launch(
        plane: &ControlPlane,
        programs: &Programs,
        kubeconfig: &Path,
        args: &[&str],
    ) -> Result<Self, Error> {
        // Each process has a folder of its own, so that a second process has a log of its own.
        let folder = tempfile::Builder::new()
            .prefix("webhook-")
            .tempdir_in(plane.folder())
            .map_err(io("create a folder for the webhook's log"))?
            .keep();
        let log = folder.join("webhook.log");
        let file = File::create(&log).map_err(io("create the webhook's log"))?;
        let child = Command::new(&programs.webhook)
            .args(["--listen=127.0.0.1:0", "--shutdown-delay=0s"])
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(io("start the webhook"))?;
        plane.adopt(&child)?;
        let mut webhook = Self { child: Mutex::new(child), port: 0, log };
        webhook.port = webhook.wait_for_port().await?;
        Ok(webhook)
    }

    /// Waits until the process logs its port, and returns the port.
    async fn wait_for_port(&self) -> Result<u16, Error> {
        let started = Instant::now();
        loop {
            let log = self.log_text();
            let port = log
                .split_once("address=127.0.0.1:")
                .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
            if let Some(port) = port {
                return Ok(port);
            }
            let has_exited = matches!(self.child().try_wait(), Ok(Some(_)));
            if has_exited || started.elapsed() > DEADLINE {
                return Err(Error::Webhook { log: self.log.clone(), tail: log });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the port that the process serves on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Returns the path of the log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the content of the log.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Terminates the process with SIGTERM, as a kubelet does, and waits until it has exited.
    ///
    /// # Errors
    /// Returns an error if the process cannot be signaled or waited for.
    pub fn terminate(&self) -> Result<ExitStatus, Error> {
        self.signal("-TERM")?;
        self.child().wait().map_err(io("wait for the webhook"))
    }

    /// Suspends the process with SIGSTOP, so that it holds its connections and does not respond.
    ///
    /// # Errors
    /// Returns an error if the process cannot be signaled.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal("-STOP")
    }

    /// Resumes the process after [`Webhook::freeze`].
    ///
    /// # Errors
    /// Returns an error if the process cannot be signaled.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), Error> {
        let status = Command::new("kill")
            .arg(signal)
            .arg(self.child().id().to_string())
            .status()
            .map_err(io("run kill"))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Io {
            what: "signal the webhook".into(),
            source: std::io::Error::other(status.to_string()),
        })
    }

    /// Kills the process with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// Returns an error if the process cannot be killed or waited for.
    pub fn kill(&self) -> Result<(), Error> {
        self.child().kill().map_err(io("kill the webhook"))?;
        self.child().wait().map_err(io("wait for the webhook"))?;
        Ok(())
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child().kill();
        let _ = self.child().wait();
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { what: what.to_owned(), source }
}
