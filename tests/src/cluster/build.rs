//! Builds the webhook and the plugin from this workspace.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::Error;
use crate::control_plane::progress::Progress;

/// Time between two updates of the progress while cargo prints nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Estimate of a debug build, measured on two cores.
pub(crate) const DEBUG_ESTIMATE: &str = "1 to 2 minutes on a fresh machine, seconds later";
const OPTIMIZED_ESTIMATE: &str = "several minutes after a change of dependencies";

/// Paths of the built executables.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Path of the webhook, `mirrord-sessions-webhook`.
    pub webhook: PathBuf,
    /// Path of the plugin, `kubectl-mirrord_sessions`.
    pub plugin: PathBuf,
}

impl Programs {
    /// Builds both programs with the `dev` profile and reports progress on stderr.
    ///
    /// # Errors
    /// Returns an error if cargo cannot be run or the code does not compile.
    pub fn build() -> Result<Self, Error> {
        Self::build_with(&[], DEBUG_ESTIMATE)
    }

    /// Builds both programs with the `release` profile, for benchmarks.
    ///
    /// # Errors
    /// Fails under the conditions of [`Programs::build`].
    pub fn build_optimized() -> Result<Self, Error> {
        Self::build_with(&["--release"], OPTIMIZED_ESTIMATE)
    }

    /// Builds both programs with the `dist` profile, which published archives use.
    ///
    /// # Errors
    /// Fails under the conditions of [`Programs::build`].
    pub fn build_distributed() -> Result<Self, Error> {
        Self::build_with(&["--profile=dist"], OPTIMIZED_ESTIMATE)
    }

    fn build_with(args: &[&str], estimate: &str) -> Result<Self, Error> {
        // Another toolchain's cargo would rebuild every dependency, so use the current one.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut progress = Progress::start("Building the webhook and the plugin", estimate);
        let color = if progress.is_terminal() { "always" } else { "never" };
        let mut child = Command::new(&cargo)
            .args(["build", "--message-format=json-render-diagnostics", "--color", color])
            .args(["--package=mirrord-sessions-webhook", "--package=mirrord-sessions-plugin"])
            .args(args)
            .args(["--bins", "--manifest-path"])
            .arg(workspace().join("Cargo.toml"))
            // Cargo's progress bar would overwrite the status line.
            .env("CARGO_TERM_PROGRESS_WHEN", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Error::Build(format!("{} could not be run: {error}", cargo.display()))
            })?;

        let (sender, lines) = mpsc::channel();
        forward_lines(child.stdout.take(), Line::Message, sender.clone());
        forward_lines(child.stderr.take(), Line::Stderr, sender);
        let mut executables = Vec::new();
        let mut activity = CargoActivity::default();
        loop {
            match lines.recv_timeout(POLL_INTERVAL) {
                Ok(Line::Message(line)) => executables.extend(executable(&line)),
                Ok(Line::Stderr(line)) => {
                    if !activity.observe(&line) {
                        progress.print_line(&line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.update(&activity.describe());
        }
        let status = child
            .wait()
            .map_err(|error| Error::Build(format!("cannot wait for cargo: {error}")))?;
        if !status.success() {
            return Err(Error::Build("see the compiler's messages above".into()));
        }
        progress.finish();
        let path_of = |name: &str| {
            executables
                .iter()
                .find(|(target, _)| target == name)
                .map(|(_, path)| path.clone())
                .ok_or_else(|| Error::Build(format!("cargo built no {name}")))
        };
        Ok(Self {
            webhook: path_of("mirrord-sessions-webhook")?,
            plugin: path_of("kubectl-mirrord_sessions")?,
        })
    }
}

/// A line of cargo's output.
enum Line {
    Message(String),
    Stderr(String),
}

/// Sends the lines of a stream to a channel from a thread of its own.
fn forward_lines<R: Read + Send + 'static>(
    stream: Option<R>,
    wrap: fn(String) -> Line,
    sender: Sender<Line>,
) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if sender.send(wrap(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}

/// Returns the target name and the path of the executable that a cargo message reports.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

/// Cargo's current activity, read from its status lines.
#[derive(Default)]
struct CargoActivity {
    latest: String,
    crates: usize,
}

impl CargoActivity {
    /// Records a status line and returns whether the line is one.
    fn observe(&mut self, line: &str) -> bool {
        const VERBS: [&str; 12] = [
            "Adding",
            "Blocking",
            "Building",
            "Compiling",
            "Dirty",
            "Downloaded",
            "Downloading",
            "Finished",
            "Fresh",
            "Locking",
            "Removing",
            "Updating",
        ];
        let line = without_colors(line);
        let status = line.trim();
        let verb = status.split(' ').next().unwrap_or_default();
        // Cargo aligns the verb to the right in twelve columns. Diagnostics begin at the margin.
        if !line.starts_with(' ') || !VERBS.contains(&verb) {
            return false;
        }
        if verb == "Compiling" {
            self.crates += 1;
        }
        // The path of a workspace member is longer than the status line.
        let status = status.split(" (/").next().unwrap_or(status);
        status.clone_into(&mut self.latest);
        true
    }

    fn describe(&self) -> String {
        match (self.latest.as_str(), self.crates) {
            ("", _) => "Starting cargo".to_owned(),
            (latest, 0 | 1) => latest.to_owned(),
            (latest, crates) => format!("{latest}, crate {crates}"),
        }
    }
}

/// Removes the escape sequences by which cargo colors its output.
fn without_colors(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Returns the folder of the workspace.
pub(super) fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_status_lines_and_passes_diagnostics_on() {
        let mut activity = CargoActivity::default();
        assert_eq!(activity.describe(), "Starting cargo");
        for (line, is_status, described) in [
            (
                "    Blocking waiting for file lock on build directory",
                true,
                "Blocking waiting for file lock on build directory",
            ),
            ("   Compiling hyper v1.7.0", true, "Compiling hyper v1.7.0"),
            (
                "\x1b[1m\x1b[92m   Compiling\x1b[0m core v0.1.0 (/home/avi/webhook/core)",
                true,
                "Compiling core v0.1.0, crate 2",
            ),
            ("warning: unused variable: `x`", false, "Compiling core v0.1.0, crate 2"),
            ("  --> webhook/src/main.rs:1:5", false, "Compiling core v0.1.0, crate 2"),
        ] {
            assert_eq!(activity.observe(line), is_status, "{line}");
            assert_eq!(activity.describe(), described, "{line}");
        }
    }

    #[test]
    fn reads_executables_from_cargo_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":"/t/x"}"#;
        assert_eq!(executable(message), Some(("x".to_owned(), "/t/x".into())));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("not JSON"), None);
    }
}
