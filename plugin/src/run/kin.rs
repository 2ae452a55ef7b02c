//! What a command has started, which ends with it when its session is stopped.
//!
//! A command runs in the process group of this process, so that its terminal, Ctrl-Z and pipes work
//! as without it. So do the others of a pipeline, and the script that it is a line of: the group
//! can't be signalled. What belongs to the command is looked for instead: its descendants, and what
//! carries its mark in its environment, since those whose parent has ended have no other (macOS
//! hides the environments of its own programs). Not what has begun a session of its own, as daemons
//! do: that is meant to outlive whoever starts it.

use std::{collections::HashSet, ffi::OsString};

use nix::{
    sys::signal::Signal,
    unistd::{Pid, getsid},
};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};
use tokio::process::Child;

use super::child::send_to;

/// The variable in which a command finds the name of its session.
pub(crate) const MARK: &str = "KUBECTL_MIRRORD_SESSION";

/// A process that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Process {
    /// Its number, and when it was started: numbers are used again.
    id: (u32, u64),
    parent: u32,
    session: u32,
    marked: bool,
}

/// Whose kin is looked for.
#[derive(Clone, Copy, Debug)]
struct Root {
    /// The command, as long as its number is its own.
    command: Option<u32>,
    /// Who looks.
    own: u32,
    /// The session of who looks; 0 where its leader is in no namespace that is seen from here.
    session: u32,
}

/// Those of these processes that belong to the command, itself excepted; some are known to.
fn kin(processes: &[Process], root: Root, known: &HashSet<(u32, u64)>) -> HashSet<(u32, u64)> {
    // The command itself may have begun a session.
    let counts = |process: &Process| {
        let is_root = Some(process.id.0) == root.command || process.id.0 == root.own;
        let is_there = process.session == root.session || Some(process.session) == root.command;
        is_there && !is_root
    };
    let candidates: Vec<&Process> = processes.iter().filter(|process| counts(process)).collect();
    let mut found: HashSet<(u32, u64)> = candidates
        .iter()
        .filter(|process| process.marked || known.contains(&process.id))
        .map(|process| process.id)
        .collect();
    loop {
        let parents: HashSet<u32> = found.iter().map(|(pid, _)| *pid).collect();
        let before = found.len();
        let children = candidates.iter().filter(|process| {
            Some(process.parent) == root.command || parents.contains(&process.parent)
        });
        found.extend(children.map(|process| process.id));
        if found.len() == before {
            return found;
        }
    }
}

/// What a command has started, as it was seen last.
pub(crate) struct Kin {
    root: Root,
    mark: OsString,
    found: HashSet<(u32, u64)>,
}

impl Kin {
    /// Looks for the kin of a command that runs, or has run, as the session of this name.
    pub(crate) fn of(child: &Child, session: &str) -> Self {
        let number = |pid: Pid| u32::try_from(pid.as_raw()).unwrap_or_default();
        let mut kin = Self {
            root: Root {
                command: child.id(),
                own: std::process::id(),
                session: getsid(None).map(number).unwrap_or_default(),
            },
            mark: format!("{MARK}={session}").into(),
            found: HashSet::new(),
        };
        kin.look();
        kin
    }

    /// Looks again.
    pub(crate) fn look(&mut self) {
        self.found = kin(&running(&self.mark), self.root, &self.found);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Sends a signal to each, as it was seen last.
    pub(crate) fn send(&self, signal: Signal) {
        for (pid, _) in &self.found {
            send_to(*pid, signal);
        }
    }
}

/// All processes that run, as far as the system shows them.
fn running(mark: &OsString) -> Vec<Process> {
    let what = ProcessRefreshKind::nothing().without_tasks().with_environ(UpdateKind::Always);
    let Ok(mut system) = System::new() else {
        return Vec::new();
    };
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let processes = system.processes().values();
    let processes = processes.filter_map(|process| {
        // One that nobody has waited for is over.
        let is_over = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
        (!is_over).then(|| Process {
            id: (process.pid().as_u32(), process.start_time()),
            parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
            session: process.session_id().map_or(0, sysinfo::Pid::as_u32),
            marked: process.environ().contains(mark),
        })
    });
    processes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Root = Root { command: Some(10), own: 9, session: 5 };

    fn process(pid: u32, parent: u32, session: u32, marked: bool) -> Process {
        Process { id: (pid, 100), parent, session, marked }
    }

    #[test]
    fn what_belongs_to_a_command() {
        for (name, more, expected) in [
            ("nothing", vec![], &[][..]),
            ("a child", vec![process(11, 10, 5, true)], &[11]),
            (
                "a child of a child, whatever its environment",
                vec![process(11, 10, 5, false), process(12, 11, 5, false)],
                &[11, 12],
            ),
            ("one whose parent has ended", vec![process(12, 1, 5, true)], &[12]),
            (
                "what that has started",
                vec![process(12, 1, 5, true), process(13, 12, 5, false)],
                &[12, 13],
            ),
            ("one that is known", vec![process(20, 1, 5, false)], &[20]),
            ("a daemon", vec![process(13, 1, 13, true)], &[]),
            ("a child in a session of its own", vec![process(13, 10, 13, true)], &[]),
            ("of a command with a session of its own", vec![process(13, 10, 10, true)], &[13]),
            ("a stranger", vec![process(30, 8, 5, false)], &[]),
            ("a helper of who looks", vec![process(31, 9, 5, false)], &[]),
        ] {
            let mut all = vec![
                process(1, 0, 1, false),
                process(8, 1, 5, false),
                process(9, 8, 5, false),
                process(10, 9, 5, true),
            ];
            all.extend(more);
            let known = HashSet::from([(20, 100), (30, 99)]);
            let mut found: Vec<u32> =
                kin(&all, ROOT, &known).into_iter().map(|(pid, _)| pid).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn processes_are_seen() {
        let all = running(&OsString::from("NO=such mark"));
        let own = all.iter().find(|process| process.id.0 == std::process::id());
        let own = own.unwrap();
        assert!(own.id.1 > 0 && !own.marked, "{own:?}");
        // In a container both may be numbers that it doesn't show.
        let parent = std::os::unix::process::parent_id();
        let session = u32::try_from(getsid(None).unwrap().as_raw()).unwrap();
        assert_eq!((own.parent, own.session), (parent, session));
    }
}
