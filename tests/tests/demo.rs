//! Tests of the demo, run as README describes.

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

/// A child process that is killed if the test fails.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cargo_demo_accepts_the_arguments_in_readme() {
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
    assert!(!help.stderr.is_empty(), "cargo hid its progress");
    let unknown = cargo(&["demo", "--", "--stay"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("unknown argument \"--stay\""));
}

/// Runs all steps, uses the kept cluster with the printed instructions, and stops it with SIGINT.
#[test]
fn keeps_the_cluster_until_interrupted() {
    let mut demo = KillOnDrop(
        Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("--keep")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let mut output = String::new();
    let mut read_until_prefix = |prefix: &str| {
        for line in lines.by_ref() {
            let line = line.unwrap();
            output.push_str(&line);
            output.push('\n');
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
        panic!("the demo ended before it printed {prefix:?}:\n{output}");
    };
    let kubeconfig = read_until_prefix("export KUBECONFIG=").trim_matches('\'').to_owned();
    let path = read_until_prefix("export PATH=");
    let bin = path.trim_start_matches('\'').split('\'').next().unwrap().to_owned();
    let log = read_until_prefix("Webhook log: ");
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
    for (context, can_delete) in [
        ("admin", "yes"),
        ("developer-1", "yes"),
        ("developer-2", "yes"),
        ("auditor", "no"),
        ("nobody", "no"),
    ] {
        let (_, output) = kubectl(&["--context", context, "auth", "can-i", "delete", "sessions"]);
        assert_eq!(output.trim(), can_delete, "{context}");
    }
    let (listed, text) = kubectl(&["mirrord-sessions", "list", "--context", "developer-1"]);
    assert!(listed && text.contains("487F4F2B6D2376AD"), "{text}");

    let interrupted =
        Command::new("kill").args(["-INT", &demo.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let interrupted_at = Instant::now();
    let status = loop {
        if let Some(status) = demo.0.try_wait().unwrap() {
            break status;
        }
        assert!(
            interrupted_at.elapsed() < Duration::from_secs(20),
            "the demo is still running after Ctrl-C"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    assert!(!Path::new(&kubeconfig).exists(), "the temporary folder was not removed");
}
