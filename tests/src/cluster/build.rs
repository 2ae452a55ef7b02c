//! The programs under test, built from this workspace.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::Error;

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `mirrord-sessions-webhook`.
    pub webhook: PathBuf,
    /// `kubectl-mirrord_sessions`.
    pub plugin: PathBuf,
}

impl Programs {
    /// Builds them; quick where nothing changed since. Cargo's own progress goes to standard error.
    ///
    /// # Errors
    /// The code doesn't compile.
    pub fn build() -> Result<Self, Error> {
        Self::build_with(&[])
    }

    /// The same as they are released, for measuring.
    ///
    /// # Errors
    /// As [`Programs::build`].
    pub fn build_optimized() -> Result<Self, Error> {
        Self::build_with(&["--release"])
    }

    /// The same by the profile of what people download.
    ///
    /// # Errors
    /// As [`Programs::build`].
    pub fn build_distributed() -> Result<Self, Error> {
        Self::build_with(&["--profile=dist"])
    }

    fn build_with(args: &[&str]) -> Result<Self, Error> {
        // The one that runs this: another toolchain's would build everything again.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(&cargo)
            .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
            .args(["--package=mirrord-sessions-webhook", "--package=mirrord-sessions-plugin"])
            .args(args)
            .args(["--bins", "--manifest-path"])
            .arg(workspace().join("Cargo.toml"))
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| {
                Error::Build(format!("{} could not be run: {error}", cargo.display()))
            })?;
        if !output.status.success() {
            return Err(Error::Build("see the compiler's messages above".into()));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = |name: &str| {
            messages
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|message| {
                    message["target"]["name"] == name && message["executable"].is_string()
                })
                .and_then(|message| message["executable"].as_str().map(PathBuf::from))
                .ok_or_else(|| Error::Build(format!("cargo built no {name}")))
        };
        Ok(Self {
            webhook: executable("mirrord-sessions-webhook")?,
            plugin: executable("kubectl-mirrord_sessions")?,
        })
    }
}

/// The workspace's folder.
pub(super) fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}
