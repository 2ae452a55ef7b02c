//! Credential plugins, tokens and proxies of kubeconfigs.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    fake::{Fake, ReceivedRequest, Response, Server, status},
    plugin::Plugin,
};

/// Returns a kubeconfig for a server with this user.
fn kubeconfig(server: &Server, user: &str) -> String {
    let config = fs::read_to_string(server.kubeconfig()).unwrap();
    let address = config.split('"').nth(1).unwrap();
    with_user(address, "", user)
}

fn with_user(address: &str, cluster: &str, user: &str) -> String {
    format!(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: '{address}'{cluster}}}}}]\nusers: [{{name: u, user: {user}}}]\n"
    )
}

/// Credential plugin beside a kubeconfig that counts its runs.
struct Login {
    plugin: Plugin,
    calls: PathBuf,
}

impl Login {
    /// Creates a plugin that runs the script with `$N` as the number of the run.
    fn new(server: &Server, script: &str, mode: &str) -> Self {
        let exec = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./login, interactiveMode: {mode}}}}}"
        );
        let plugin = Plugin::with_kubeconfig(&kubeconfig(server, &exec));
        let folder = plugin.kubeconfig().parent().unwrap().to_owned();
        let calls = folder.join("calls");
        let login = folder.join("login");
        let text = format!(
            "#!/bin/sh\nPATH=/bin:/usr/bin\necho x >> {0}\nN=$(wc -l < {0} | tr -d ' ')\n{script}\n",
            calls.display()
        );
        fs::write(&login, text).unwrap();
        fs::set_permissions(&login, fs::Permissions::from_mode(0o755)).unwrap();
        Self { plugin, calls }
    }

    fn calls(&self) -> usize {
        fs::read_to_string(&self.calls).unwrap_or_default().lines().count()
    }

    fn complete(&self, words: &[&str]) -> String {
        let output = self.plugin.command("__complete").args(words).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Prints the credential of run `$N`, valid for an hour.
const LASTING: &str = r#"echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t$N\",\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}}""#;
/// Prints the credential of run `$N` without an expiry.
const PLAIN: &str = r#"echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t$N\"}}""#;

/// Rejects requests whose token doesn't satisfy the condition.
fn accepting(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    Fake::new().session("default", "487f4f2b6d2376ad").rule(move |seen| {
        let token = seen.header("authorization").first().copied().unwrap_or_default();
        let body = status(401, "Unauthorized", "Unauthorized", &json!({}));
        (!accepts(token)).then_some(Response { code: 401, headers: "", body })
    })
}

#[test]
fn a_plugin_runs_once_for_each_command() {
    let server = accepting(|token| token.starts_with("Bearer t")).start();
    let login = Login::new(&server, PLAIN, "Never");
    for (n, command) in
        ["list", "list -A -o json", "describe 487f4f2b6d2376ad", "version", "status", "kill-all -y"]
            .iter()
            .enumerate()
    {
        let output = login.plugin.run(command);
        assert_eq!(login.calls(), n + 1, "{command}: {output:?}");
    }
    let tokens: Vec<ReceivedRequest> = server.all_requests();
    assert!(tokens.iter().all(|seen| seen.header("authorization").len() == 1));
}

#[test]
fn a_rejected_credential_is_renewed_once() {
    let server = accepting(|token| token == "Bearer t2").start();
    let login = Login::new(&server, LASTING, "Never");
    assert!(login.plugin.run("list -o name").succeeds().ends_with("/487f4f2b6d2376ad\n"));
    assert_eq!(login.calls(), 2);

    let server = accepting(|_| false).start();
    let login = Login::new(&server, LASTING, "Never");
    let message = login.plugin.run("list").fails();
    assert!(
        message.starts_with("error: You must be logged in to the server (Unauthorized): the credentials of user \"u\" of the kubeconfig"),
        "{message}"
    );
    assert_eq!(login.calls(), 2);
}

#[test]
fn completion_uses_the_last_answer_of_a_plugin() {
    let server = accepting(|token| token.starts_with("Bearer t")).start();
    let slow = Login::new(&server, &format!("sleep 1\n{LASTING}"), "IfAvailable");
    let candidate = "487F4F2B6D2376AD\t";
    // The first completion waits for the plugin, and the next ones use its answer.
    for _ in 0..3 {
        assert!(slow.complete(&["delete", ""]).starts_with(candidate));
    }
    assert_eq!(slow.calls(), 1);
    // Other commands ask the plugin, as kubectl does.
    slow.plugin.run("list").succeeds();
    assert_eq!(slow.calls(), 2);

    // A plugin that asks its user never runs for completion, and its last answer is used.
    let prompting = Login::new(&server, LASTING, "IfAvailable");
    prompting.plugin.run("list").succeeds();
    let config = fs::read_to_string(prompting.plugin.kubeconfig()).unwrap();
    fs::write(prompting.plugin.kubeconfig(), config.replace("IfAvailable", "Always")).unwrap();
    assert!(prompting.complete(&["delete", ""]).starts_with(candidate));
    assert_eq!(prompting.calls(), 1);
    let message = prompting.plugin.run("list").fails();
    assert!(message.contains("interactiveMode: Always"), "{message}");

    // The file is private, and is not written if it is switched off.
    let cache = |login: &Login| {
        let home = login.plugin.kubeconfig().parent().unwrap().to_owned();
        home.join(".kube/cache/mirrord-sessions/credentials")
    };
    let folder = cache(&slow);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    let off = Login::new(&server, LASTING, "Never");
    let mut command = off.plugin.command("list");
    command.env("MIRRORD_SESSIONS_CREDENTIAL_CACHE", "off");
    assert!(command.output().unwrap().status.success());
    assert!(!cache(&off).exists());
    // Without an expiry, nothing is stored.
    let plain = Login::new(&server, PLAIN, "Never");
    plain.plugin.run("list").succeeds();
    assert!(!cache(&plain).exists());
}

#[test]
fn completion_renews_a_cached_answer_that_is_rejected() {
    let accepted = Arc::new(AtomicUsize::new(1));
    let number = Arc::clone(&accepted);
    let server =
        accepting(move |token| token == format!("Bearer t{}", number.load(Ordering::Relaxed)))
            .start();
    let login = Login::new(&server, LASTING, "Never");
    let candidate = "487F4F2B6D2376AD\t";
    assert!(login.complete(&["delete", ""]).starts_with(candidate));
    accepted.store(2, Ordering::Relaxed);
    assert!(login.complete(&["delete", ""]).starts_with(candidate));
    assert!(login.complete(&["delete", ""]).starts_with(candidate));
    assert_eq!(login.calls(), 2);
}

#[test]
fn secrets_reach_no_log() {
    let server = accepting(|token| token == "Bearer t2").start();
    let login = Login::new(&server, LASTING, "Never");
    let output = login.plugin.run("list -v 10");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.messages.contains("retrying with others"), "{output:?}");
    assert!(!output.messages.contains("t1") && !output.messages.contains("t2\""), "{output:?}");
}

#[test]
fn tokens_with_line_breaks_never_panic() {
    let server = accepting(|token| token == "Bearer secret").start();
    let run = |user: &str| {
        let plugin = Plugin::with_kubeconfig(&kubeconfig(&server, user));
        fs::write(plugin.kubeconfig().with_file_name("token"), "secret\n").unwrap();
        plugin.run("list -o name")
    };
    for user in ["{token: \"secret\\n\"}", "{tokenFile: token}", "{token: other, tokenFile: token}"]
    {
        assert!(run(user).succeeds().ends_with("/487f4f2b6d2376ad\n"), "{user}");
    }
    let message = run("{token: \"sec\\nret\"}").fails();
    assert_eq!(
        message,
        "error: the token of user \"u\" of the kubeconfig contains a line break or another control character: it must be a single line"
    );
    let broken = Login::new(&server, "printf '%s' 'status: {token: \"sec\\nret\"}'", "Never");
    let message = broken.plugin.run("list").fails();
    assert!(
        message.contains("/login\" of user \"u\"") && message.contains("contains a line break"),
        "{message}"
    );
    let ending = Login::new(&server, "printf '%s' 'status: {token: \"secret\\n\"}'", "Never");
    ending.plugin.run("list").succeeds();
}

#[test]
fn a_missing_plugin_is_named_with_its_hint() {
    let server = Fake::new().start();
    let run = |command: &str| {
        let user = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, interactiveMode: Never, installHint: \"install it by\\n  brew install login\"}}}}"
        );
        Plugin::with_kubeconfig(&kubeconfig(&server, &user)).run("list").fails()
    };
    assert_eq!(
        run("no-such-login"),
        "error: the credential plugin \"no-such-login\" of user \"u\" of the kubeconfig is not installed: the command was not found: install it by brew install login"
    );
    let message = run("./kubeconfig");
    assert!(message.contains("it is not executable"), "{message}");
}

#[test]
fn credentials_are_not_sent_over_a_network_without_tls() {
    // The address is not that of this machine, so nothing answers.
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./none}}";
    let plugin = Plugin::with_kubeconfig(&with_user("http://cluster.invalid", "", exec));
    let message = plugin.run("list").fails();
    assert!(message.contains("cannot be resolved (no such host)"), "{message}");
}

#[test]
fn a_dead_proxy_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for scheme in ["http", "https", "socks5"] {
        let cluster = format!(", proxy-url: '{scheme}://user:secret@{address}'");
        let config = with_user("https://cluster.invalid:6443", &cluster, "{}");
        let message = Plugin::with_kubeconfig(&config).run("list").fails();
        assert_eq!(
            message,
            format!(
                "Unable to connect to the server: the proxy {scheme}://{address} refused the connection: check proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY"
            )
        );
    }
    let config = with_user("https://cluster.invalid:6443", ", proxy-url: 'ftp://x'", "{}");
    let message = Plugin::with_kubeconfig(&config).run("list").fails();
    assert!(message.starts_with("error: unsupported proxy address"), "{message}");
}

#[test]
fn unsupported_providers_are_explained() {
    let server = Fake::new().start();
    for provider in ["gcp", "azure"] {
        let user = format!("{{auth-provider: {{name: {provider}, config: null}}}}");
        let message = Plugin::with_kubeconfig(&kubeconfig(&server, &user)).run("list").fails();
        assert!(
            message.contains("is not supported, like in kubectl: use the credential plugin"),
            "{message}"
        );
    }
}

#[test]
fn a_run_outlives_its_token() {
    // The first token is rejected after the command has started.
    let started = Arc::new(AtomicBool::new(false));
    let is_started = Arc::clone(&started);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let accepted = Arc::clone(&reports);
    let server =
        accepting(move |token| !is_started.load(Ordering::Relaxed) || token == "Bearer t2")
            .rule(move |seen| {
                if seen.path.ends_with("/report") {
                    let token = seen.header("authorization").first().copied().unwrap_or_default();
                    accepted.lock().unwrap().push(token.to_owned());
                }
                None
            })
            .start();
    let login = Login::new(&server, LASTING, "Never");
    let mut command = login.plugin.command("run -- sh -c");
    let child = command.arg("sleep 6").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while reports.lock().unwrap().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    started.store(true, Ordering::Relaxed);
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), messages.as_str()), (Some(0), ""));
    assert_eq!(login.calls(), 2);
    let reports = reports.lock().unwrap();
    assert!(reports.iter().filter(|token| *token == "Bearer t2").count() > 1, "{reports:?}");
}

#[test]
fn a_run_reports_that_its_credentials_are_rejected() {
    let started = Arc::new(AtomicBool::new(false));
    let is_started = Arc::clone(&started);
    let seen_report = Arc::clone(&started);
    let server = accepting(move |_| !is_started.load(Ordering::Relaxed))
        .rule(move |seen| {
            if seen.path.ends_with("/report") {
                seen_report.store(true, Ordering::Relaxed);
            }
            None
        })
        .start();
    let plugin = Plugin::with_kubeconfig(&kubeconfig(&server, "{token: t}"));
    let output = plugin.command("run -- sh -c").arg("sleep 8").output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{messages}");
    assert!(
        messages
            .contains("Warning: the cluster accepts no credentials of this command, and session")
            && messages.contains("You must be logged in to the server (Unauthorized)"),
        "{messages}"
    );
    assert!(!messages.contains("cannot be reached"), "{messages}");
}

#[test]
fn a_run_records_on_the_cluster_of_mirrord() {
    let (current, other) = (Fake::new().start(), Fake::new().start());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(other.kubeconfig(), path("other")).unwrap();
    let mirrord = path("mirrord");
    fs::write(&mirrord, "#!/bin/sh\necho \"$MIRRORD_KUBECONFIG,$MIRRORD_KUBE_CONTEXT\"\n").unwrap();
    fs::set_permissions(&mirrord, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("config.json"), r#"{"kubeconfig": "~/other"}"#).unwrap();
    let creates = |server: &Server| {
        server
            .lines()
            .iter()
            .filter(|line| line.starts_with("POST") && line.ends_with("/sessions"))
            .count()
    };
    let config = path("config.json");
    let config = config.to_str().unwrap();
    let other_file = path("other");
    let other_file = other_file.to_str().unwrap();
    let list = format!("/none:{other_file}");
    // (flags of run, arguments of mirrord, variable, printed variables, records on the other cluster)
    let cases = [
        ("", "", None, ",", false),
        ("", "-f CONFIG", None, ",", true),
        ("", "", Some("~/other"), "~/other,", true),
        ("", "", Some(list.as_str()), &format!("{list},"), true),
        ("--kubeconfig OTHER", "", None, &format!("{other_file},"), true),
        ("--kubeconfig OTHER --context here", "", None, &format!("{other_file},here"), true),
    ];
    for (flags, arguments, variable, printed, is_other) in cases {
        let before = (creates(&current), creates(&other));
        let fill = |text: &str| text.replace("CONFIG", config).replace("OTHER", other_file);
        let mut command = current.command(&format!(
            "{} run -- {} exec {} -- true",
            fill(flags),
            mirrord.display(),
            fill(arguments)
        ));
        command.env("HOME", folder.path()).env("PATH", "/bin:/usr/bin");
        if let Some(value) = variable {
            command.env("MIRRORD_KUBECONFIG", value);
        }
        let output = command.output().unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{flags} {arguments} {variable:?}: {messages}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), printed);
        let added = (creates(&current) - before.0, creates(&other) - before.1);
        assert_eq!(
            added,
            if is_other { (0, 1) } else { (1, 0) },
            "{flags} {arguments} {variable:?}"
        );
    }
}
