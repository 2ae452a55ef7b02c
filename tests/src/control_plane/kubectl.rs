//! Runs the released kubectl against the control plane.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::AsyncWriteExt as _;

use super::ControlPlane;
use super::assets::Program;
use super::error::Error;

/// Output and exit status of kubectl.
#[derive(Debug)]
pub struct KubectlOutput {
    /// Text on standard output.
    pub stdout: String,
    /// Text on standard error.
    pub stderr: String,
    /// Exit status of kubectl.
    pub status: ExitStatus,
}

impl ControlPlane {
    /// Returns a kubectl command for a kubeconfig, to which callers add arguments.
    ///
    /// [`ControlPlane::kubectl`] runs such a command and collects its output.
    #[must_use]
    pub fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.assets().path(Program::Kubectl));
        command
            .env("KUBECONFIG", kubeconfig)
            // An earlier control plane may have used this port, so its cached discovery is invalid.
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            // Ignore the user's kubectl preferences.
            .env("KUBERC", "off");
        command
    }

    /// Runs kubectl and returns its output.
    ///
    /// Async, since the caller's runtime may serve the requests of kubectl.
    pub async fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> Result<KubectlOutput, Error> {
        self.kubectl_with_input(kubeconfig, args, "").await
    }

    /// Runs kubectl with text on standard input, as for `apply -f -`.
    pub async fn kubectl_with_input(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        input: &str,
    ) -> Result<KubectlOutput, Error> {
        let doing = || "run kubectl".to_owned();
        let mut command = tokio::process::Command::from(self.kubectl_command(kubeconfig));
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io(doing()))?;
        let stdin = child.stdin.take();
        let write_input = async {
            if let Some(mut stdin) = stdin {
                // kubectl may exit before it has read everything, and reports the reason itself.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), write_input);
        let output = output.map_err(Error::io(doing()))?;
        Ok(KubectlOutput {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status,
        })
    }
}
