//! The demo, as README says to run it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A program that is killed if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cargo_demo_takes_its_arguments_as_readme_says() {
    let cargo = |args: &[&str]| {
        Command::new(std::env::var_os("CARGO").unwrap())
            .args(args)
            .current_dir(workspace())
            .output()
            .unwrap()
    };
    let help = cargo(&["demo", "--", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("cargo demo [-- --keep]"), "{text}");
    let wrong = cargo(&["demo", "--", "--stay"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("unknown argument \"--stay\""));
}

/// Walks through all steps, leaves everything running for a stranger's kubectl, and stops on
/// Ctrl-C.
#[test]
fn it_keeps_everything_until_interrupted() {
    let mut demo = Running(
        Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("--keep")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let mut told = String::new();
    let mut line_with = |start: &str| {
        for line in lines.by_ref() {
            let line = line.unwrap();
            told.push_str(&line);
            told.push('\n');
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
        panic!("the demo ended before it said {start:?}:\n{told}");
    };
    let kubeconfig = line_with("export KUBECONFIG=").trim_matches('\'').to_owned();
    let path = line_with("export PATH=");
    let bin = path.trim_start_matches('\'').split('\'').next().unwrap().to_owned();
    let log = line_with("The webhook's log: ");
    assert!(Path::new(&log).is_file());

    let kubectl = |args: &[&str]| {
        let output = Command::new(Path::new(&bin).join("kubectl"))
            .args(args)
            .env("KUBECONFIG", &kubeconfig)
            .env("PATH", &bin)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for (context, may) in [
        ("admin", "yes"),
        ("developer-1", "yes"),
        ("developer-2", "yes"),
        ("auditor", "no"),
        ("nobody", "no"),
    ] {
        let (_, answer) = kubectl(&["--context", context, "auth", "can-i", "delete", "sessions"]);
        assert_eq!(answer.trim(), may, "{context}");
    }
    let (listed, text) = kubectl(&["mirrord-sessions", "list", "--context", "developer-1"]);
    assert!(listed && text.contains("487F4F2B6D2376AD"), "{text}");

    let interrupted =
        Command::new("kill").args(["-INT", &demo.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = demo.0.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on after Ctrl-C");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    assert!(!Path::new(&kubeconfig).exists(), "its folder is still there");
}
