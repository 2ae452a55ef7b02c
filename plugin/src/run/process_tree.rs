//! The processes that a command has started, which end with it when its session is stopped.
//!
//! A command runs in the process group of this process, so that its terminal, Ctrl-Z and pipes work
//! unchanged. The group also contains the rest of a pipeline or script, so it can't be signalled.
//! Descendants of the command are searched instead, and processes with the session variable in
//! their environment, because orphans have no ancestor (macOS hides the environments of its own
//! programs). Processes that began a session of their own, like daemons, are exempt: they are meant
//! to outlive their parent.

use std::{collections::HashSet, ffi::OsString};

use nix::{
    sys::signal::Signal,
    unistd::{Pid, getsid},
};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};
use tokio::process::Child;

use super::child::send_to;

/// The environment variable with the name of the session.
pub(crate) const SESSION_ENV: &str = "KUBECTL_MIRRORD_SESSION";

/// A running process of the system.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Process {
    /// The process number with the start time, because numbers are reused.
    id: (u32, u64),
    parent: u32,
    session: u32,
    /// Reports whether the environment has the session variable.
    has_session_env: bool,
}

/// The process whose tree is searched.
#[derive(Clone, Copy, Debug)]
struct Root {
    /// The command, until its number may be reused.
    command: Option<u32>,
    /// Process of the plugin itself.
    plugin: u32,
    /// The session of the plugin; 0 if its leader is outside of the visible namespace.
    session: u32,
}

/// Returns the processes that belong to the command, except the command itself.
///
/// `known` are the processes of an earlier search, which may have lost their parent since.
fn members(processes: &[Process], root: Root, known: &HashSet<(u32, u64)>) -> HashSet<(u32, u64)> {
    // The command itself may have begun a session.
    let is_candidate = |process: &Process| {
        let is_root = Some(process.id.0) == root.command || process.id.0 == root.plugin;
        let is_in_session =
            process.session == root.session || Some(process.session) == root.command;
        is_in_session && !is_root
    };
    let candidates: Vec<&Process> =
        processes.iter().filter(|process| is_candidate(process)).collect();
    let mut found: HashSet<(u32, u64)> = candidates
        .iter()
        .filter(|process| process.has_session_env || known.contains(&process.id))
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

/// The last seen processes that a command has started.
pub(crate) struct ProcessTree {
    root: Root,
    session_env: OsString,
    found: HashSet<(u32, u64)>,
}

impl ProcessTree {
    /// Creates the tree of a command that runs or has run in a session.
    pub(crate) fn new(child: &Child, session: &str) -> Self {
        let number = |pid: Pid| u32::try_from(pid.as_raw()).unwrap_or_default();
        let mut tree = Self {
            root: Root {
                command: child.id(),
                plugin: std::process::id(),
                session: getsid(None).map(number).unwrap_or_default(),
            },
            session_env: format!("{SESSION_ENV}={session}").into(),
            found: HashSet::new(),
        };
        tree.refresh();
        tree
    }

    /// Searches the processes again.
    pub(crate) fn refresh(&mut self) {
        self.found = members(&running_processes(&self.session_env), self.root, &self.found);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Sends a signal to each process that was last seen.
    pub(crate) fn send(&self, signal: Signal) {
        for (pid, _) in &self.found {
            send_to(*pid, signal);
        }
    }
}

/// Returns all running processes, as far as the system shows them.
fn running_processes(session_env: &OsString) -> Vec<Process> {
    let refresh = ProcessRefreshKind::nothing().without_tasks().with_environ(UpdateKind::Always);
    let Ok(mut system) = System::new() else {
        return Vec::new();
    };
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, refresh);
    let processes = system.processes().values();
    let processes = processes.filter_map(|process| {
        // A zombie has ended.
        let has_ended = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
        (!has_ended).then(|| Process {
            id: (process.pid().as_u32(), process.start_time()),
            parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
            session: process.session_id().map_or(0, sysinfo::Pid::as_u32),
            has_session_env: process.environ().contains(session_env),
        })
    });
    processes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Root = Root { command: Some(10), plugin: 9, session: 5 };

    fn process(pid: u32, parent: u32, session: u32, has_session_env: bool) -> Process {
        Process { id: (pid, 100), parent, session, has_session_env }
    }

    #[test]
    fn finds_processes_of_a_command() {
        for (name, more, expected) in [
            ("nothing", vec![], &[][..]),
            ("a child", vec![process(11, 10, 5, true)], &[11]),
            (
                "a grandchild without the variable",
                vec![process(11, 10, 5, false), process(12, 11, 5, false)],
                &[11, 12],
            ),
            ("an orphan with the variable", vec![process(12, 1, 5, true)], &[12]),
            (
                "a child of an orphan",
                vec![process(12, 1, 5, true), process(13, 12, 5, false)],
                &[12, 13],
            ),
            ("a known process", vec![process(20, 1, 5, false)], &[20]),
            ("a daemon", vec![process(13, 1, 13, true)], &[]),
            ("a child in a session of its own", vec![process(13, 10, 13, true)], &[]),
            (
                "a child of a command that is a session leader",
                vec![process(13, 10, 10, true)],
                &[13],
            ),
            ("an unrelated process", vec![process(30, 8, 5, false)], &[]),
            ("another child of the plugin", vec![process(31, 9, 5, false)], &[]),
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
                members(&all, ROOT, &known).into_iter().map(|(pid, _)| pid).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn lists_running_processes() {
        let all = running_processes(&OsString::from("NO=such variable"));
        let own = all.iter().find(|process| process.id.0 == std::process::id());
        let own = own.unwrap();
        assert!(own.id.1 > 0 && !own.has_session_env, "{own:?}");
        // In a container, both numbers may be outside of the visible namespace.
        let parent = std::os::unix::process::parent_id();
        let session = u32::try_from(getsid(None).unwrap().as_raw()).unwrap();
        assert_eq!((own.parent, own.session), (parent, session));
    }
}
