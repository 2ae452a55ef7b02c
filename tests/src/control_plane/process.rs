//! Starting a process so that it never outlives its owner, and reading the end of its log.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::assets::Program;
use super::error::Error;
use super::keeper::Keeper;

/// Starts what the command says in a process group of its own, known to the keeper from before its
/// first instruction on: a shell waits for our go-ahead, and ends if we are gone by then.
///
/// stdin is `/dev/null`. A program that cannot be run shows as status 126 or 127.
pub(crate) fn spawn_kept(keeper: &Keeper, mut held: Held) -> Result<Child, Error> {
    let doing = format!("start {}", held.program.display());
    let mut child = held
        .shell
        .arg(&held.program)
        .args(&held.args)
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(Error::io(&doing))?;
    let started = keeper.keep_group(child.id()).and_then(|()| {
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

/// A program to start, with the shell that waits for the go-ahead.
pub(crate) struct Held {
    /// For environment, folder and output.
    pub(crate) shell: Command,
    program: PathBuf,
    args: Vec<OsString>,
}

impl Held {
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

/// One of the control plane's servers, running or ended.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) log: PathBuf,
    child: Child,
}

impl Server {
    /// Starts it, appending to its log.
    pub(crate) fn start(
        keeper: &Keeper,
        program: Program,
        path: &Path,
        args: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, Error> {
        let log = log_path(folder, program);
        let doing = || format!("write {}", log.display());
        let file =
            OpenOptions::new().create(true).append(true).open(&log).map_err(Error::io(doing()))?;
        let mut held = Held::new(path, args);
        held.shell
            .current_dir(folder)
            .stdout(file.try_clone().map_err(Error::io(doing()))?)
            .stderr(file);
        // etcd takes each of its flags from the environment too.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD_") {
                held.shell.env_remove(name);
            }
        }
        let child = spawn_kept(keeper, held)?;
        Ok(Self { program, log, child })
    }

    /// An error that shows the log if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.exited(status)),
            Err(source) => Err(Error::Io { doing: format!("watch {}", self.program), source }),
        }
    }

    fn exited(&self, status: ExitStatus) -> Error {
        Error::Exited {
            program: self.program,
            status,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }

    /// Ends it at once, by SIGKILL: kube-apiserver can take over 12 s on SIGTERM.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server's log is.
pub(crate) fn log_path(folder: &Path, program: Program) -> PathBuf {
    folder.join(format!("{program}.log"))
}

/// The last lines of a file, or why there are none.
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
    fn the_tail_is_the_last_lines() {
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
    fn an_end_on_start_shows_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(&folder.path().join("nothing")).unwrap();
        let args = ["-c", "echo no such flag >&2; exit 3"].map(OsString::from);
        let sh = Path::new("/bin/sh");
        let mut server =
            Server::start(&keeper, Program::Etcd, sh, args.to_vec(), folder.path()).unwrap();
        let error = loop {
            if let Err(error) = server.check() {
                break error.to_string();
            }
            std::thread::yield_now();
        };
        assert!(error.contains("etcd ended (exit status: 3)"), "{error}");
        assert!(error.ends_with("etcd.log:\nno such flag"), "{error}");
    }
}
