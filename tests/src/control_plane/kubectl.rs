//! Running the real kubectl.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::AsyncWriteExt as _;

use super::ControlPlane;
use super::assets::Program;
use super::error::Error;

/// What kubectl printed, and how it ended.
#[derive(Debug)]
pub struct KubectlOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit status.
    pub status: ExitStatus,
}

impl ControlPlane {
    /// A kubectl for this kubeconfig, to be given arguments and run: `kubectl` ready made, for
    /// those that show or stream its output.
    #[must_use]
    pub fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.assets().path(Program::Kubectl));
        command
            .env("KUBECONFIG", kubeconfig)
            // A port can be that of an earlier control plane, whose discovery must not be believed.
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            // The user's own preferences for kubectl.
            .env("KUBERC", "off");
        command
    }

    /// Runs kubectl to its end. Async, since what it asks may be served by the caller's runtime.
    pub async fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> Result<KubectlOutput, Error> {
        self.kubectl_with_input(kubeconfig, args, "").await
    }

    /// The same with something on standard input, as for `apply -f -`.
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
        let feed = async {
            if let Some(mut stdin) = stdin {
                // kubectl may end without having read it all; its own words say why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output.map_err(Error::io(doing()))?;
        Ok(KubectlOutput {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status,
        })
    }
}
