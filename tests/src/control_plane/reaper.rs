//! The reaper: a process that cleans up after its owner, even if the owner is killed.
//!
//! Destructors don't run on SIGKILL, on Ctrl-C, or for statics. Therefore a shell reads from a pipe
//! that only the owner holds open. When the owner ends, the kernel closes the pipe. The shell then
//! kills the registered processes and removes the folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::error::Error;

const SCRIPT: &str = include_str!("reaper.sh");

/// A handle on the reaper process, which reaps when the handle is dropped.
#[derive(Debug)]
pub(crate) struct Reaper {
    shell: Child,
    /// The write end of the pipe, `None` once closed.
    pipe: Mutex<Option<ChildStdin>>,
}

impl Reaper {
    /// Starts a reaper that removes `folder` when this process ends.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "mirrord-sessions-reaper"])
            .arg(folder)
            .current_dir("/")
            // Ctrl-C in a terminal signals the whole group of the owner.
            .process_group(0)
            .stdin(Stdio::piped())
            // An inherited stdout would block a reader of the owner's output until the reaper ends.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("start /bin/sh as the reaper"))?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self { shell, pipe })
    }

    /// Registers a process to be killed when the owner ends.
    pub(crate) fn register_process(&self, pid: u32) -> Result<(), Error> {
        self.register(&format!("process {pid}\n"))
    }

    /// Registers a process group to be killed when the owner ends.
    pub(crate) fn register_group(&self, leader: u32) -> Result<(), Error> {
        self.register(&format!("group {leader}\n"))
    }

    fn register(&self, line: &str) -> Result<(), Error> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        match pipe.as_mut() {
            Some(pipe) => pipe
                .write_all(line.as_bytes())
                .map_err(Error::io("register a process with the reaper")),
            None => Ok(()),
        }
    }

    /// Kills all registered processes, removes the folder, and waits until both are done.
    pub(crate) fn reap(&mut self) {
        let pipe = self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner);
        if pipe.take().is_some() {
            // An error means that the process was waited for elsewhere.
            let _ = self.shell.wait();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.reap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn spawn_sleep(group: bool) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600");
        if group {
            command.process_group(0);
        }
        command.spawn().unwrap()
    }

    #[test]
    fn kills_registered_processes_and_no_others() {
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::create_dir_all(folder.join("a b/c")).unwrap();
        std::fs::write(folder.join("a b/c/d"), "x").unwrap();
        let mut reaper = Reaper::start(&folder).unwrap();

        let (mut process, mut group, mut unregistered) =
            (spawn_sleep(false), spawn_sleep(true), spawn_sleep(false));
        let mut ended = spawn_sleep(false);
        ended.kill().unwrap();
        ended.wait().unwrap();
        reaper.register_process(process.id()).unwrap();
        reaper.register_group(group.id()).unwrap();
        reaper.register_process(ended.id()).unwrap();
        reaper.reap();

        assert!(!folder.exists());
        assert_eq!(process.wait().unwrap().signal(), Some(9));
        assert_eq!(group.wait().unwrap().signal(), Some(9));
        assert!(unregistered.try_wait().unwrap().is_none(), "an unregistered process was killed");
        unregistered.kill().unwrap();
        unregistered.wait().unwrap();
    }
}
