//! `run` on a terminal.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};

use crate::fake::{Fake, Server};

/// A new terminal: the side of who sits at it, and the other.
pub(crate) fn terminal() -> (OwnedFd, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (master.into(), terminal)
}

/// Runs a shell's script as a session, at the head of a session of this terminal, as a login does.
fn login(server: &Server, script: &str, terminal: File) -> Child {
    let plugin = server.command("run -- sh -c");
    let mut words = vec![plugin.get_program()];
    words.extend(plugin.get_args());
    words.push(script.as_ref());
    at_terminal(server, &words, terminal)
}

/// Runs a command at the head of a session of this terminal.
fn at_terminal(server: &Server, words: &[&OsStr], terminal: File) -> Child {
    // Tests that run in the background of a script ignore SIGINT, or SIGHUP by nohup, and so would
    // all that they start.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=HUP,INT,TSTP", "setsid", "--ctty", "--wait"])
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("KUBECONFIG", server.kubeconfig())
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal);
    // With it go its copies of the terminal, which would keep it open.
    command.spawn().unwrap()
}

/// What waits for a text on the screen, and answers all that was shown.
fn watched(master: OwnedFd) -> impl FnMut(&str) -> String {
    let mut screen = File::from(master);
    let (shown, show) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        // A terminal that nobody has open any more fails to be read.
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            if shown.send(text).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    move |text: &str| {
        while !seen.contains(text) {
            let more = show.recv_timeout(Duration::from_mins(1));
            assert!(more.is_ok(), "no {text} in {seen:?}");
            seen.push_str(&more.unwrap());
        }
        seen.clone()
    }
}

#[test]
fn ctrl_z_stops_it_and_the_shell_goes_on_with_it_as_with_any_job() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    // What is typed while an editor of lines takes the terminal over may be lost.
    let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"].map(OsStr::new);
    let mut child = at_terminal(&server, &shell, terminal);
    let mut typing = File::from(master.try_clone().unwrap());
    let mut wait_for = watched(master);
    // What is typed is shown too, and must not be taken for what is waited for.
    let script = "echo re\"\"ady; read line; echo \"got $line\"; exit 3";
    let plugin = server.command("run -- sh -c");
    let mut line = plugin.get_program().to_str().unwrap().to_owned();
    for word in plugin.get_args() {
        line.push(' ');
        line.push_str(word.to_str().unwrap());
    }
    writeln!(typing, "{line} '{script}'").unwrap();
    wait_for("ready");
    typing.write_all(b"\x1a").unwrap();
    wait_for("Stopped");
    writeln!(typing, "echo its\"\"turn; fg").unwrap();
    wait_for("itsturn");
    writeln!(typing, "hello").unwrap();
    wait_for("got hello");
    writeln!(typing, "echo code=$?; exit").unwrap();
    wait_for("code=3");
    child.wait().unwrap();
    assert_eq!(server.left(), [""; 0]);
}

#[test]
fn the_terminal_is_the_commands_and_ctrl_c_reaches_it_once() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    // A shell that waits in "read" may have got the signal just before, and not look until it is
    // through.
    let script = "trap 'echo interrupted; caught=1' INT; test -t 0 && test -t 1 && test -t 2 && echo ready; until [ \"$caught\" ]; do sleep 0.05; done; until read line; do :; done; echo \"read $line\"; exit 3";
    let mut child = login(&server, script, terminal);
    let mut typing = File::from(master.try_clone().unwrap());
    let mut wait_for = watched(master);
    wait_for("ready");
    typing.write_all(b"\x03").unwrap();
    wait_for("interrupted");
    typing.write_all(b"hello\n").unwrap();
    let seen = wait_for("read hello");
    assert_eq!(seen.matches("interrupted").count(), 1, "{seen:?}");
    assert_eq!(child.wait().unwrap().code(), Some(3), "{seen:?}");
    assert_eq!(server.left(), [""; 0]);
}

#[test]
fn a_terminal_that_hangs_up_ends_the_command() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    let script = "echo ready; while :; do sleep 0.05; done";
    let mut child = login(&server, script, terminal);
    let mut screen = File::from(master);
    let mut ready = [0; 5];
    screen.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready");
    drop(screen);
    // Without a terminal its parent has nothing to say either; what counts is that all is cleaned
    // up.
    child.wait().unwrap();
    assert_eq!(server.left(), [""; 0]);
}
