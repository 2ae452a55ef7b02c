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

/// Creates a terminal: the side of the user, and the other side.
pub(crate) fn terminal() -> (OwnedFd, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (master.into(), terminal)
}

/// Runs a shell script as the leader of a session of this terminal, like a login.
fn login(server: &Server, script: &str, terminal: File) -> Child {
    let plugin = server.command("run -- sh -c");
    let mut words = vec![plugin.get_program()];
    words.extend(plugin.get_args());
    words.push(script.as_ref());
    at_terminal(server, &words, terminal)
}

/// Runs a command as the leader of a session of this terminal.
fn at_terminal(server: &Server, words: &[&OsStr], terminal: File) -> Child {
    // Tests in the background of a script ignore SIGINT, or SIGHUP under nohup, and would pass that
    // on.
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
    // Drops its copies of the terminal, which would keep it open.
    command.spawn().unwrap()
}

/// Returns a function that waits for a text on the screen, and returns the output so far.
fn watched(master: OwnedFd) -> impl FnMut(&str) -> String {
    let mut screen = File::from(master);
    let (shown, show) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        // Reading a terminal fails when no process has it open.
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            if shown.send(text).is_err() {
                return;
            }
        }
    });
    let mut output = String::new();
    move |text: &str| {
        while !output.contains(text) {
            let chunk = show.recv_timeout(Duration::from_mins(1));
            assert!(chunk.is_ok(), "missing {text} in {output:?}");
            output.push_str(&chunk.unwrap());
        }
        output.clone()
    }
}

#[test]
fn supports_job_control() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    // Keys typed while a line editor initialises may be lost.
    let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"].map(OsStr::new);
    let mut child = at_terminal(&server, &shell, terminal);
    let mut typing = File::from(master.try_clone().unwrap());
    let mut wait_for = watched(master);
    // Typed text is echoed, and must not match the expected text.
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
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn delivers_ctrl_c_once() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    // A shell in "read" may have received the signal just before, and handles it after the read.
    let script = "trap 'echo interrupted; caught=1' INT; test -t 0 && test -t 1 && test -t 2 && echo ready; until [ \"$caught\" ]; do sleep 0.05; done; until read line; do :; done; echo \"read $line\"; exit 3";
    let mut child = login(&server, script, terminal);
    let mut typing = File::from(master.try_clone().unwrap());
    let mut wait_for = watched(master);
    wait_for("ready");
    typing.write_all(b"\x03").unwrap();
    wait_for("interrupted");
    typing.write_all(b"hello\n").unwrap();
    let output = wait_for("read hello");
    assert_eq!(output.matches("interrupted").count(), 1, "{output:?}");
    assert_eq!(child.wait().unwrap().code(), Some(3), "{output:?}");
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn ends_the_command_on_hang_up() {
    let server = Fake::new().start();
    let (master, terminal) = terminal();
    let script = "echo ready; while :; do sleep 0.05; done";
    let mut child = login(&server, script, terminal);
    let mut screen = File::from(master);
    let mut ready = [0; 5];
    screen.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready");
    drop(screen);
    // Without a terminal, the parent prints nothing either; only the clean-up counts.
    child.wait().unwrap();
    assert_eq!(server.session_names(), [""; 0]);
}
