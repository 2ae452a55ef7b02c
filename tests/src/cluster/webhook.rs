//! The webhook process, as a child.

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

/// A running webhook process; killed when dropped.
#[derive(Debug)]
pub struct Webhook {
    child: Mutex<Child>,
    port: u16,
    log: PathBuf,
}

impl Webhook {
    /// Starts the process under its service account, on a port of loopback that is free.
    ///
    /// # Errors
    /// It did not start; the error holds the end of its log.
    pub async fn start(plane: &ControlPlane, programs: &Programs) -> Result<Self, Error> {
        Self::start_with(plane, programs, &[]).await
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// As [`Webhook::start`].
    pub async fn start_with(
        plane: &ControlPlane,
        programs: &Programs,
        args: &[&str],
    ) -> Result<Self, Error> {
        let kubeconfig = plane.service_account_kubeconfig(SYSTEM_NAMESPACE, WEBHOOK_NAME).await?;
        Self::start_at(plane, programs, kubeconfig.path(), args).await
    }

    /// The same as in the overlay without trackers.
    ///
    /// # Errors
    /// As [`Webhook::start`].
    pub async fn start_without_trackers(
        plane: &ControlPlane,
        programs: &Programs,
    ) -> Result<Self, Error> {
        let kubeconfig = plane.service_account_kubeconfig(SYSTEM_NAMESPACE, WEBHOOK_NAME).await?;
        Self::launch(plane, programs, kubeconfig.path(), &[]).await
    }

    /// The same with another way to the API server.
    ///
    /// # Errors
    /// As [`Webhook::start`].
    pub async fn start_at(
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
        // A folder of its own for each process, so that a second one has a log too.
        let folder = tempfile::Builder::new()
            .prefix("webhook-")
            .tempdir_in(plane.folder())
            .map_err(io("a folder for the webhook's log"))?
            .keep();
        let log = folder.join("webhook.log");
        let file = File::create(&log).map_err(io("the webhook's log"))?;
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
        webhook.port = webhook.listening().await?;
        Ok(webhook)
    }

    /// The port it says it serves on.
    async fn listening(&self) -> Result<u16, Error> {
        let start = Instant::now();
        loop {
            let log = self.log_text();
            let port = log
                .split_once("address=127.0.0.1:")
                .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
            if let Some(port) = port {
                return Ok(port);
            }
            let ended = matches!(self.child().try_wait(), Ok(Some(_)));
            if ended || start.elapsed() > DEADLINE {
                return Err(Error::Webhook { log: self.log.clone(), tail: log });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port that it serves on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its number with the system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it logged so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Tells it to stop, as a kubelet does, and waits until it has.
    ///
    /// # Errors
    /// It could not be told or waited for.
    pub fn terminate(&self) -> Result<ExitStatus, Error> {
        self.signal("-TERM")?;
        self.child().wait().map_err(io("wait for the webhook"))
    }

    /// Stops it where it is: it goes on holding its connections and answers nothing.
    ///
    /// # Errors
    /// It could not be told.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal("-STOP")
    }

    /// Lets it go on after [`Webhook::freeze`].
    ///
    /// # Errors
    /// It could not be told.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), Error> {
        let told = Command::new("kill")
            .arg(signal)
            .arg(self.child().id().to_string())
            .status()
            .map_err(io("run kill"))?;
        if told.success() {
            return Ok(());
        }
        Err(Error::Io {
            what: "kill the webhook".into(),
            source: std::io::Error::other(told.to_string()),
        })
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// It could not be killed or waited for.
    pub fn kill(&self) -> Result<(), Error> {
        self.child().kill().map_err(io("kill the webhook"))?;
        self.child().wait().map_err(io("wait for the webhook"))?;
        Ok(())
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child().kill();
        let _ = self.child().wait();
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { what: what.to_owned(), source }
}
