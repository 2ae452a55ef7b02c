//! The child process of `run`, and the signals for it.
//!
//! The command runs in the same process group and on the same terminal. Signals of the terminal
//! (Ctrl-C, Ctrl-\, Ctrl-Z, a resize) therefore reach it directly. Signals that are sent to this
//! process alone are forwarded. SIGTSTP and SIGCONT keep their default actions.

use std::{ffi::OsString, fs::File, io, os::unix::process::ExitStatusExt, process::ExitStatus};
use std::{future::poll_fn, task::Poll};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpgrp, tcgetpgrp},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
};

/// The exit codes of shells for a command that can't be run, and for a command that does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended a command.
const SIGNAL_BASE: i32 = 128;

/// Starts a command with additional variables, on the streams of this process.
///
/// # Errors
/// Returns the exit code and a message if the command can't be run.
pub(crate) fn start(
    command: &[OsString],
    variables: &[(&str, OsString)],
) -> Result<Child, (u8, String)> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| (NOT_FOUND, "error: there is no command to run".to_owned()))?;
    let variables = variables.iter().map(|(name, value)| (name, value));
    let started = Command::new(program).args(arguments).envs(variables).spawn();
    started.map_err(|error| {
        let program = program.to_string_lossy();
        if error.kind() == io::ErrorKind::NotFound {
            let line = format!(
                "error: there is no command \"{program}\": check its spelling and PATH, or give its path"
            );
            (NOT_FOUND, line)
        } else {
            (
                CANNOT_RUN,
                format!("error: \"{program}\" cannot be run: {error}"),
            )
        }
    })
}

/// Returns the exit code that reports how a command ended.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let from_signal = || status.signal().map(|signal| SIGNAL_BASE + signal);
    let code = status.code().or_else(from_signal).unwrap_or(1);
    // Exit codes of the system have 8 bits.
    u8::try_from(code & 0xff).unwrap_or(1)
}

/// Returns the exit code for a signal that ended this process before the command started.
pub(crate) fn signal_exit_code(signal: Signal) -> u8 {
    u8::try_from(SIGNAL_BASE + signal as i32).unwrap_or(1)
}

/// Sends a signal to the command, unless it has ended.
pub(crate) fn send(child: &Child, signal: Signal) {
    // The process has not been waited for, so its number is still valid.
    if let Some(pid) = child.id() {
        send_to(pid, signal);
    }
}

/// Sends a signal to a process, which may have ended or belong to another user by now.
pub(super) fn send_to(pid: u32, signal: Signal) {
    // kill(2) interprets other numbers as process groups or as all processes.
    if let Ok(pid @ 1..) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// The relation of this process to its terminal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Terminal {
    /// The process has no terminal.
    None,
    /// The process group receives keyboard signals.
    Foreground,
    /// Another process group receives keyboard signals.
    Background,
    /// The terminal has hung up.
    Gone,
}

/// Returns whether a received signal must be forwarded.
fn is_forwarded(signal: Signal, terminal: Terminal) -> bool {
    // SIGHUP is forwarded: the system sends it only to the session leader, which may be this
    // process.
    let is_of_terminal = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH].contains(&signal);
    !is_of_terminal
        || match terminal {
            Terminal::None | Terminal::Background => true,
            Terminal::Foreground | Terminal::Gone => false,
        }
}

/// The signal handlers of this process.
pub(crate) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
    terminal: Option<File>,
}

impl Signals {
    /// Installs the handlers, so that signals no longer end this process. Signals that were ignored
    /// at the start, as under nohup, stay ignored by this process and the command.
    pub(crate) fn new() -> io::Result<Self> {
        const ALL: [(Signal, fn() -> SignalKind); 7] = [
            (Signal::SIGTERM, SignalKind::terminate),
            (Signal::SIGINT, SignalKind::interrupt),
            (Signal::SIGQUIT, SignalKind::quit),
            (Signal::SIGHUP, SignalKind::hangup),
            (Signal::SIGWINCH, SignalKind::window_change),
            (Signal::SIGUSR1, SignalKind::user_defined1),
            (Signal::SIGUSR2, SignalKind::user_defined2),
        ];
        let ignored = ignored_signals();
        let mut streams = Vec::new();
        for (signal, kind) in ALL {
            let bit = u32::try_from(signal as i32 - 1).unwrap_or(u32::MAX);
            if ignored.checked_shr(bit).unwrap_or(0) & 1 == 0 {
                streams.push((signal, unix::signal(kind())?));
            }
        }
        Ok(Self { streams, terminal: File::open("/dev/tty").ok() })
    }

    async fn next_received(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Returns the next signal that would have ended this process.
    pub(crate) async fn next_terminating(&mut self) -> Signal {
        loop {
            let signal = self.next_received().await;
            if signal != Signal::SIGWINCH {
                return signal;
            }
        }
    }

    /// Returns the next signal that must be forwarded.
    pub(crate) async fn next_forwarded(&mut self) -> Signal {
        loop {
            let signal = self.next_received().await;
            if is_forwarded(signal, self.terminal()) {
                return signal;
            }
        }
    }

    fn terminal(&self) -> Terminal {
        let Some(terminal) = &self.terminal else {
            return Terminal::None;
        };
        match tcgetpgrp(terminal) {
            Ok(group) if group == getpgrp() => Terminal::Foreground,
            Ok(_) => Terminal::Background,
            Err(_) => Terminal::Gone,
        }
    }
}

/// Returns the signals that were ignored at the start as a bit mask, from /proc. The system call
/// needs unsafe code.
#[cfg(target_os = "linux")]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status");
    status.map_or(0, |status| parse_ignored_signals(&status))
}

#[cfg(any(target_os = "linux", test))]
fn parse_ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Returns the ignored signals on systems without /proc: a child inherits them.
#[cfg(not(target_os = "linux"))]
fn ignored_signals() -> u64 {
    probe_ignored_signals(std::process::Command::new("/bin/sh").args(["-c", PROBE]))
}

/// A shell sends itself signals and reports those that arrive. It can't trap signals that were
/// ignored at its start.
#[cfg(any(not(target_os = "linux"), test))]
const PROBE: &str =
    r#"for s in HUP INT QUIT TERM USR1 USR2; do trap "echo $s" "$s"; kill -s "$s" $$; done"#;

#[cfg(any(not(target_os = "linux"), test))]
fn probe_ignored_signals(shell: &mut std::process::Command) -> u64 {
    use std::process::Stdio;
    let output = shell.stdin(Stdio::null()).stderr(Stdio::null()).output();
    // A shell that was ended by a signal has reported only some.
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return 0;
    };
    let output = String::from_utf8_lossy(&output.stdout);
    [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]
    .into_iter()
    .filter(|signal| !output.lines().any(|name| signal.as_str() == format!("SIG{name}")))
    .fold(0, |mask, signal| mask | 1 << (signal as i32 - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_exit_codes() {
        for (raw, code) in [(0, 0), (1 << 8, 1), (255 << 8, 255), (15, 143), (9, 137)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), code, "{raw:#x}");
        }
    }

    #[test]
    fn forwards_no_keyboard_signals_in_the_foreground() {
        use Terminal::{Background, Foreground, Gone, None};
        for (signal, terminals) in [
            (Signal::SIGTERM, &[None, Foreground, Background, Gone][..]),
            (Signal::SIGUSR1, &[None, Foreground, Background, Gone]),
            (Signal::SIGINT, &[None, Background]),
            (Signal::SIGQUIT, &[None, Background]),
            (Signal::SIGHUP, &[None, Foreground, Background, Gone]),
            (Signal::SIGWINCH, &[None, Background]),
        ] {
            for terminal in [None, Foreground, Background, Gone] {
                assert_eq!(
                    is_forwarded(signal, terminal),
                    terminals.contains(&terminal),
                    "{signal:?} {terminal:?}"
                );
            }
        }
    }

    #[test]
    fn reads_ignored_signals() {
        assert_eq!(parse_ignored_signals("Name:\tx\nSigIgn:\t0000000000000003\n"), 3);
        for odd in ["", "SigIgn:", "SigIgn:\tx"] {
            assert_eq!(parse_ignored_signals(odd), 0, "{odd:?}");
        }
    }

    #[test]
    fn child_probe_reports_ignored_signals() {
        let ignored = |names: &str| {
            let script = format!("trap '' {names}; exec /bin/sh -c \"$0\"");
            probe_ignored_signals(
                std::process::Command::new("/bin/sh").args(["-c", &script, PROBE]),
            )
        };
        let bit = |signal: Signal| 1u64 << (signal as i32 - 1);
        let inherited = ignored("WINCH");
        assert_eq!(ignored("HUP"), inherited | bit(Signal::SIGHUP));
        let all = ignored("HUP INT QUIT TERM USR1 USR2");
        let some = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
        let some = some.map(bit).into_iter().sum::<u64>();
        assert_eq!(all, some | bit(Signal::SIGUSR1) | bit(Signal::SIGUSR2));
        // This process may have been started with ignored signals too.
        let seen = super::ignored_signals() & all;
        assert_eq!(seen, inherited);
        let mut missing = std::process::Command::new("/nowhere/at-all");
        assert_eq!(probe_ignored_signals(&mut missing), 0);
        let mut killed = std::process::Command::new("/bin/sh");
        assert_eq!(probe_ignored_signals(killed.args(["-c", "kill -9 $$"])), 0);
    }

    #[test]
    fn reports_commands_that_can_not_be_run() {
        let missing = start(&["/nowhere/at-all".into()], &[]).unwrap_err();
        assert_eq!(missing.0, 127);
        assert!(missing.1.contains("no command \"/nowhere/at-all\""));
        assert_eq!(start(&["/".into()], &[]).unwrap_err().0, 126);
        assert_eq!(start(&[], &[]).unwrap_err().0, 127);
    }
}
