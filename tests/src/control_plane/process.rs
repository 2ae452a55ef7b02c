//! Spawns processes that never outlive their owner, and reads the end of their logs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::assets::Program;
use super::error::Error;
use super::reaper::Reaper;

/// Spawns a command in a process group of its own and registers the group with the reaper.
///
/// The program starts only after the registration. Until then, a shell waits for a line on stdin,
/// and exits if this process ends first. The program's stdin is `/dev/null`. If the program cannot
/// be executed, its exit status is 126 or 127.
pub(crate) fn spawn_registered(reaper: &Reaper, mut gated: GatedCommand) -> Result<Child, Error> {
    let doing = format!("start {}", gated.program.display());
    let mut child = gated
        .shell
        .arg(&gated.program)
        .args(&gated.args)
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(Error::io(&doing))?;
    let started = reaper.register_group(child.id()).and_then(|()| {
        child
            .stdin
            .take()
            .map_or(Ok(()), |mut stdin| stdin.write_all(b"go\n"))
            .map_err(Error::io(&doing))
    });
    if let Err(error) = started {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}

/// A command behind a shell that waits for permission to execute it.
pub(crate) struct GatedCommand {
    /// The shell, on which callers set environment, working directory and output.
    pub(crate) shell: Command,
    program: PathBuf,
    args: Vec<OsString>,
}

impl GatedCommand {
    pub(crate) fn new<A: Into<OsString>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"read -r go && exec "$@" </dev/null"#, "sh"]);
        Self {
            shell,
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }
}

/// A server process of the control plane, running or ended.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) log: PathBuf,
    child: Child,
}

impl Server {
    /// Starts the server and appends its output to its log.
    pub(crate) fn start(
        reaper: &Reaper,
        program: Program,
        path: &Path,
        args: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, Error> {
        let log = log_path(folder, program);
        let doing = || format!("write {}", log.display());
        let file =
            OpenOptions::new().create(true).append(true).open(&log).map_err(Error::io(doing()))?;
        let mut gated = GatedCommand::new(path, args);
        gated
            .shell
            .current_dir(folder)
            .stdout(file.try_clone().map_err(Error::io(doing()))?)
            .stderr(file);
        // etcd also reads its flags from environment variables.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD_") {
                gated.shell.env_remove(name);
            }
        }
        let child = spawn_registered(reaper, gated)?;
        Ok(Self { program, log, child })
    }

    /// Returns an error that quotes the log if the server has exited.
    pub(crate) fn check_running(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.exit_error(status)),
            Err(source) => Err(Error::Io { doing: format!("watch {}", self.program), source }),
        }
    }

    fn exit_error(&self, status: ExitStatus) -> Error {
        Error::Exited {
            program: self.program,
            status,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }

    /// Kills the server with SIGKILL, since kube-apiserver can take over 12 s on SIGTERM.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of a server's log.
pub(crate) fn log_path(folder: &Path, program: Program) -> PathBuf {
    folder.join(format!("{program}.log"))
}

/// Returns the last lines of a file, or the reason why it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 20;
    const BYTES: u64 = 16 * 1024;
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.trim_end().lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_returns_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lines: Vec<_> = (0..10_000).map(|n| format!("line {n}")).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        assert_eq!(tail(&path), lines[9_980..].join("\n"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(tail(&path), "");
        assert!(tail(&folder.path().join("none")).contains("cannot read"));
    }

    #[test]
    fn exit_during_start_quotes_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(&folder.path().join("nothing")).unwrap();
        let args = ["-c", "echo no such flag >&2; exit 3"].map(OsString::from);
        let sh = Path::new("/bin/sh");
        let mut server =
            Server::start(&reaper, Program::Etcd, sh, args.to_vec(), folder.path()).unwrap();
        let error = loop {
            if let Err(error) = server.check_running() {
                break error.to_string();
            }
            std::thread::yield_now();
        };
        assert!(error.contains("etcd exited (exit status: 3)"), "{error}");
        assert!(error.ends_with("etcd.log:\nno such flag"), "{error}");
    }
}
