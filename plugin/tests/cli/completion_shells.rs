//! Completion in shells, and as the program `kubectl_complete-mirrord_sessions`.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    completion::two_sessions,
    fake::Server,
    plugin::{CommandOutput, Plugin},
};

#[test]
fn completes_as_kubectl_complete() {
    let server = two_sessions().start();
    let mut command = server.command("completion --install");
    let home = server.kubeconfig().parent().unwrap().to_owned();
    let bin = home.join("krew/bin");
    fs::create_dir_all(&bin).unwrap();
    let plugin = Path::new(command.get_program()).to_owned();
    symlink(&plugin, bin.join("kubectl-mirrord_sessions")).unwrap();
    command.env("KREW_ROOT", home.join("krew"));
    let message = CommandOutput::new(&command.output().unwrap()).succeeds();
    let shim = bin.join("kubectl_complete-mirrord_sessions");
    assert!(message.starts_with(&format!("created {}: ", shim.display())), "{message}");
    let mut request = Command::new(&shim);
    request.args(["delete", ""]).env_clear().env("KUBECONFIG", server.kubeconfig());
    let text = CommandOutput::new(&request.output().unwrap()).succeeds();
    assert!(text.starts_with("487F4F2B6D2376AD\t") && text.ends_with("\n:4\n"), "{text}");
}

/// Runs a script in a shell with the plugin on its path. Returns nothing if the shell is not
/// installed.
fn run_in_shell(server: &Server, shell: &str, arguments: &[&str], script: &str) -> Option<String> {
    let plugin = server.command("x");
    let bin = server.kubeconfig().with_file_name("bin");
    let _ = fs::create_dir(&bin);
    let _ = symlink(plugin.get_program(), bin.join("kubectl-mirrord_sessions"));
    let path = std::env::join_paths(
        [bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH")?)),
    )
    .unwrap();
    let output = Command::new(shell)
        .args(arguments)
        .args(["-c", script])
        .env("PATH", path)
        .env("KUBECONFIG", server.kubeconfig())
        .env("HOME", server.kubeconfig().parent().unwrap())
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: {shell} is not installed");
        return None;
    };
    Some(CommandOutput::new(&output).succeeds())
}

#[test]
fn completes_in_bash() {
    let server = two_sessions().start();
    // readline treats "=" and ":" as words, and completes the last word.
    let reply = |words: &str, kind: u8| {
        let script = format!(
            r#"eval "$(kubectl-mirrord_sessions completion bash)"
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE={kind}
            __kubectl_mirrord_sessions; printf '%s\n' "${{COMPREPLY[@]}}""#
        );
        run_in_shell(&server, "bash", &["--norc", "--noprofile"], &script)
    };
    let Some(first) = reply("kubectl-mirrord_sessions delete ''", 9) else {
        return;
    };
    assert_eq!(first, "487F4F2B6D2376AD\n");
    let cases = [
        ("kubectl-mirrord_sessions kil", 9, "kill\nkill-all\n"),
        ("kubectl-mirrord_sessions version --output = j", 9, "json\n"),
        ("kubectl-mirrord_sessions version -o ''", 9, "json\nyaml\n"),
        (
            "kubectl-mirrord_sessions version -o ''",
            63,
            "json  (Output in JSON format)\nyaml  (Output in YAML format)\n",
        ),
        ("kubectl-mirrord_sessions -n shop describe c5", 9, "c527fe7d9c30979e\n"),
        ("kubectl-mirrord_sessions nope x ''", 9, "\n"),
    ];
    for (words, kind, expected) in cases {
        assert_eq!(reply(words, kind).unwrap(), expected, "{words}");
    }
}

#[test]
fn completes_in_fish() {
    let server = two_sessions().start();
    let script = "kubectl-mirrord_sessions completion fish | source; complete -C 'kubectl-mirrord_sessions delete '; complete -C 'kubectl-mirrord_sessions version --output=j'";
    let Some(text) = run_in_shell(&server, "fish", &["--no-config"], script) else {
        return;
    };
    assert_eq!(text, "487F4F2B6D2376AD\tAvi/avi@x@host, deployment/counter\n--output=json\tJSON\n");
}

#[test]
fn loads_in_zsh() {
    let server = two_sessions().start();
    // Captures the arguments of the completion system instead of drawing.
    let script = r#"compdef() { : }
        functions[compdef]='true'
        source <(kubectl-mirrord_sessions completion zsh)
        _describe() { print -rl -- "${(@P)4}" }
        compset() { : }
        words=(kubectl-mirrord_sessions delete ''); CURRENT=3; _kubectl_mirrord_sessions
        words=(kubectl-mirrord_sessions -n shop describe c5); CURRENT=5; _kubectl_mirrord_sessions
        words=(kubectl-mirrord_sessions version --output=j); CURRENT=3; _kubectl_mirrord_sessions"#;
    let Some(text) = run_in_shell(&server, "zsh", &["-f"], script) else {
        return;
    };
    assert_eq!(
        text,
        "487F4F2B6D2376AD:Avi/avi@x@host, deployment/counter\nc527fe7d9c30979e:Bo/bo@x@host_nsecond line, deployment/counter\njson:JSON\n"
    );
}

#[test]
fn ignores_credential_plugins_that_prompt() {
    let plugin = Plugin::with_kubeconfig(
        r#"
current-context: here
contexts: [{name: here, context: {cluster: here, user: dev}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: dev, user: {exec: {
  apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable,
  command: /bin/sh, args: ["-c", "read typed; echo \"$typed.\" > \"$HOME/got\"; exec sleep 60"],
}}}]
"#,
    );
    let start = Instant::now();
    let mut child = plugin
        .command("__complete delete")
        .arg("")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Typed input belongs to the shell, not to the credential plugin.
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"typed ahead\n");
    // Wait until every process has closed the streams.
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert!(start.elapsed() < Duration::from_secs(30), "{output:?}");
    assert_eq!(output.succeeds(), ":4\n");
    let got = plugin.kubeconfig().with_file_name("got");
    let input = loop {
        let input = fs::read_to_string(&got).unwrap_or_default();
        if !input.is_empty() || start.elapsed() > Duration::from_secs(30) {
            break input;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(input, ".\n");
}
