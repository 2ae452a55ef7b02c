//! `top` in a terminal created by `script` of util-linux. Without it, only the parts of the view
//! are tested.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::fake::{Fake, Server};

const TIMEOUT: Duration = Duration::from_mins(1);
const ENTER_SCREEN: &str = "\u{1b}[?1049h";
const LEAVE_SCREEN: &str = "\u{1b}[?1049l";

struct Screen {
    child: Child,
    keys: ChildStdin,
    chunks: mpsc::Receiver<String>,
    output: String,
}

impl Screen {
    fn open(server: &Server) -> Option<Self> {
        let plugin = server.command("top");
        // A terminal created by `script` from a pipe has no size.
        let program = plugin.get_program().to_str()?;
        let line = format!("stty rows 24 cols 100; exec {program} top");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("KUBECONFIG", server.kubeconfig())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .inspect_err(|_| eprintln!("skipped: `script` of util-linux is not installed"))
            .ok()?;
        let keys = child.stdin.take()?;
        let mut out = child.stdout.take()?;
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, keys, chunks, output: String::new() })
    }

    /// Reads until the text appears.
    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.output.contains(text) {
            // The clock is redrawn each second, so that output always arrives.
            let more = self.chunks.recv_timeout(TIMEOUT).unwrap_or_default();
            self.output.push_str(&more);
            assert!(start.elapsed() < TIMEOUT, "missing {text:?} in {:?}", self.output);
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end. Returns whether it succeeded.
    fn end(mut self) -> (bool, String) {
        let start = Instant::now();
        while let Ok(more) = self.chunks.recv_timeout(TIMEOUT) {
            self.output.push_str(&more);
            assert!(start.elapsed() < TIMEOUT, "the program is still running: {:?}", self.output);
        }
        let ok = self.child.wait().unwrap().success();
        (ok, std::mem::take(&mut self.output))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a failed test, the program in the terminal ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_restored(output: &str) -> bool {
    let last = |code: &str| output.rfind(code);
    last(LEAVE_SCREEN) > last(ENTER_SCREEN) && output.contains("\u{1b}[?25h")
}

#[test]
fn stops_a_session_and_restores_the_terminal() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").start();
    let Some(mut screen) = Screen::open(&server) else {
        return;
    };
    screen.wait_for("487F4F2B6D2376AD");
    screen.press("x");
    screen.wait_for("Stop");
    let start = Instant::now();
    while !server.session_names().is_empty() {
        assert!(start.elapsed() < TIMEOUT, "not stopped: {:?}", screen.output);
        // The key is ignored until the confirmation was readable.
        screen.press("y");
        thread::sleep(Duration::from_millis(20));
    }
    screen.press("q");
    let (ok, output) = screen.end();
    assert!(ok && is_restored(&output), "{output:?}");
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn ignores_pasted_confirmations() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").start();
    let Some(mut screen) = Screen::open(&server) else {
        return;
    };
    screen.wait_for("487F4F2B6D2376AD");
    // A pasted name while the filter is closed.
    screen.press("proxy");
    screen.wait_for("Stop");
    // The key Ctrl-C.
    screen.press("\u{3}");
    let (ok, output) = screen.end();
    assert!(ok && is_restored(&output), "{output:?}");
    assert_eq!(server.session_names(), ["487f4f2b6d2376ad"]);
}

#[test]
fn restores_the_terminal_on_a_signal() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").start();
    let Some(mut screen) = Screen::open(&server) else {
        return;
    };
    screen.wait_for("487F4F2B6D2376AD");
    let script = screen.child.id();
    let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
    let killed = Command::new("kill").args(children.split_whitespace()).status().unwrap();
    assert!(killed.success());
    let (_, output) = screen.end();
    assert!(is_restored(&output), "{output:?}");
}

#[test]
fn reports_errors_on_a_restored_terminal() {
    let server = Fake::new()
        .forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
        .start();
    let Some(screen) = Screen::open(&server) else {
        return;
    };
    let (ok, output) = screen.end();
    assert!(!ok && !output.contains(ENTER_SCREEN), "{output:?}");
    assert!(output.contains("Forbidden"), "{output:?}");
}

#[test]
fn exits_silently_on_a_closed_terminal() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").start();
    let (user_side, terminal) = crate::run_terminal::terminal();
    let plugin = server.command("top");
    let program = plugin.get_program().to_str().unwrap();
    let stream = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = Command::new("sh")
        .args(["-c", &format!("stty rows 24 cols 100; exec {program} top")])
        .env("KUBECONFIG", server.kubeconfig())
        .env("TERM", "xterm")
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    drop(terminal);
    let mut user_side = fs::File::from(user_side);
    let mut output = Vec::new();
    let mut bytes = [0; 4096];
    while !String::from_utf8_lossy(&output).contains("487F4F2B6D2376AD") {
        let read = user_side.read(&mut bytes).unwrap();
        output.extend_from_slice(&bytes[..read]);
    }
    drop(user_side);
    // The process was not ended by a signal, such as that of an abort.
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(1));
}
