//! The plugin's command `list`, compared with `kubectl get`.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::ChildStdout,
};

use super::shared_bin;
use crate::support::{create_namespace, shared};

#[tokio::test]
async fn list_output_matches_kubectl() {
    let namespace = create_namespace(shared(), "formats").await;
    let dev = namespace.user("formats-dev", &["devs"]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    dev.create_session("487f4f2b6d2376ad", "deployment/shop").await;
    dev.create_session("b", "pod/a").await;
    dev.create_session("c", "targetless").await;
    dev.wait_for_sessions(&["487f4f2b6d2376ad", "b", "c"]).await;
    // Output and messages equal those of kubectl.
    for args in [
        &["-o", "jsonpath={.items[*].metadata.name}"][..],
        &["-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.spec.target}{\"\\n\"}{end}"],
        &["-o", "jsonpath={.items[?(@.spec.target==\"pod/a\")].metadata.name}"],
        &["-o", "jsonpath={.items[-1:].spec['target','user']}"],
        &["-o", "jsonpath={.items[0].spec.owner}"],
        &["-o", "jsonpath={.kind}: {.items[0,2].spec.target}, {.nothing}"],
        &["-o", "jsonpath-as-json={.items[*].spec.target}"],
        &[
            "-o",
            "custom-columns=NAME:.metadata.name,T:spec.target,OWNER:{.spec.owner.username},G:.spec.owner.groups,X:.x",
        ],
        &["-o", "custom-columns=NAME:.metadata.name", "--no-headers"],
        &["-o", "custom-columns=NAME:.metadata.name", "--sort-by=.spec.target"],
        &["-o", "json", "--sort-by={.spec.target}"],
        &["-o", "custom-columns=N:.metadata.name", "-l", "a!=b"],
        &["-o", "custom-columns=N:.metadata.name", "--field-selector", "spec.target=pod/a"],
        &["-o", "custom-columns=N:.metadata.name", "--chunk-size=1"],
        &["-o", "jsonpath={.items[0"],
        &["-o", "jsonpath"],
        &["-o", "custom-columns=A"],
        &["-o", "custom-columns=A:x{y"],
        &["--sort-by={.x", "-o", "json"],
        &["--field-selector", "nonsense"],
        &["--field-selector", "spec.nonsense=a"],
        &["-l", "a in"],
    ] {
        let ours = dev.plugin(&[&["list"], args].concat()).await;
        let theirs = dev.kubectl(&[&["get", "sessiontrackers"], args].concat(), "").await;
        assert_eq!(ours.stdout, theirs.stdout, "{args:?} {ours:?} {theirs:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{args:?} {ours:?} {theirs:?}");
        // kubectl rewords errors of the server about selectors.
        let has_selector = args.contains(&"-l") || args.contains(&"--field-selector");
        if ours.stdout.is_empty() && !has_selector {
            assert_eq!(ours.stderr, theirs.stderr, "{args:?}");
        }
    }
}

/// Reads a number of lines within a minute each.
async fn read_lines(lines: &mut Lines<BufReader<ChildStdout>>, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    while read.len() < count {
        let line = tokio::time::timeout(std::time::Duration::from_mins(1), lines.next_line());
        let line = line.await;
        read.push(line.expect("a line within a minute").unwrap().expect("more lines"));
    }
    read
}

#[tokio::test]
async fn list_watch_prints_changes() {
    let namespace = create_namespace(shared(), "watch").await;
    let dev = namespace.user("watch-dev", &["devs"]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    dev.create_session("a", "deployment/shop").await;
    dev.wait_for_sessions(&["a"]).await;
    let mut child = tokio::process::Command::new(shared_bin().join("kubectl"))
        .args(["mirrord-sessions", "list", "-w", "-n", &namespace.name])
        .args(["-o", "custom-columns=NAME:.metadata.name,TARGET:.spec.target"])
        .env("PATH", shared_bin())
        .env("KUBECONFIG", dev.kubeconfig())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = read_lines(&mut lines, 2).await;
    assert_eq!(first, ["NAME   TARGET", "a      deployment/shop"]);
    dev.create_session("b", "pod/x").await;
    assert_eq!(read_lines(&mut lines, 1).await, ["b      pod/x"]);
    let deleted = dev.plugin(&["delete", "a"]).await;
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(read_lines(&mut lines, 1).await, ["a      deployment/shop"]);
}
