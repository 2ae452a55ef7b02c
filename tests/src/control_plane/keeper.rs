//! The keeper: a process that ends what its owner started, even if the owner is killed.
//!
//! A destructor doesn't run on SIGKILL, on Ctrl-C, or for a static. So a shell waits on a pipe that
//! only the owner holds: however the owner ends, the kernel closes the pipe, and the shell kills
//! what it was told of and removes the folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::error::Error;

const SCRIPT: &str = include_str!("keeper.sh");

#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    /// `None` once closed.
    pipe: Mutex<Option<ChildStdin>>,
}

impl Keeper {
    /// Starts a keeper that will remove `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "mirrord-sessions-keeper"])
            .arg(folder)
            .current_dir("/")
            // Its own group, or Ctrl-C in a terminal would end it together with the owner.
            .process_group(0)
            .stdin(Stdio::piped())
            // An inherited stdout would keep whoever reads the owner's output waiting.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("start /bin/sh as keeper"))?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self { shell, pipe })
    }

    /// From now on, this process is killed with the owner.
    pub(crate) fn keep_process(&self, pid: u32) -> Result<(), Error> {
        self.tell(&format!("process {pid}\n"))
    }

    /// From now on, this process group is killed with the owner.
    pub(crate) fn keep_group(&self, leader: u32) -> Result<(), Error> {
        self.tell(&format!("group {leader}\n"))
    }

    fn tell(&self, line: &str) -> Result<(), Error> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        match pipe.as_mut() {
            Some(pipe) => {
                pipe.write_all(line.as_bytes()).map_err(Error::io("hand a process to the keeper"))
            }
            None => Ok(()),
        }
    }

    /// Has everything killed and removed, and waits for it.
    pub(crate) fn finish(&mut self) {
        let pipe = self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner);
        if pipe.take().is_some() {
            // Nothing to be done if somebody else has reaped it.
            let _ = self.shell.wait();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn sleeper(group: bool) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600");
        if group {
            command.process_group(0);
        }
        command.spawn().unwrap()
    }

    #[test]
    fn what_is_kept_ends_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::create_dir_all(folder.join("a b/c")).unwrap();
        std::fs::write(folder.join("a b/c/d"), "x").unwrap();
        let mut keeper = Keeper::start(&folder).unwrap();

        let (mut process, mut group, mut stranger) =
            (sleeper(false), sleeper(true), sleeper(false));
        let mut gone = sleeper(false);
        gone.kill().unwrap();
        gone.wait().unwrap();
        keeper.keep_process(process.id()).unwrap();
        keeper.keep_group(group.id()).unwrap();
        keeper.keep_process(gone.id()).unwrap();
        keeper.finish();

        assert!(!folder.exists());
        assert_eq!(process.wait().unwrap().signal(), Some(9));
        assert_eq!(group.wait().unwrap().signal(), Some(9));
        assert!(stranger.try_wait().unwrap().is_none(), "not ours to end");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
