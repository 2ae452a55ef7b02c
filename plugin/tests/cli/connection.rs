//! kubectl's connection flags, with environment and kubeconfig.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    fake::{Fake, Server},
    plugin::{CommandOutput, Plugin},
};

fn address(server: &Server) -> String {
    let config = fs::read_to_string(server.kubeconfig()).unwrap();
    config.split('"').nth(1).unwrap().to_owned()
}

fn run(mut command: Command) -> CommandOutput {
    CommandOutput::new(&command.output().unwrap())
}

#[test]
fn sends_impersonation_and_tokens() {
    let server = Fake::new().start();
    let output = server.run("list --as eve --as-group a --as-group b --as-uid 7 --token other");
    assert_eq!(output.code, Some(0), "{output:?}");
    let request = &server.all_requests()[0];
    assert_eq!(request.header("authorization"), ["Bearer other"]);
    assert_eq!(request.header("impersonate-user"), ["eve"]);
    assert_eq!(request.header("impersonate-group"), ["a", "b"]);
    assert_eq!(request.header("impersonate-uid"), ["7"]);
    assert!(request.header("user-agent")[0].starts_with("kubectl-mirrord_sessions/"));
}

#[test]
fn merges_kubeconfig_files() {
    let server = Fake::new().session("shop", "a").start();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    fs::write(
        &first,
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u, namespace: shop}}]\n",
    )
    .unwrap();
    fs::write(
        &second,
        format!(
            "current-context: y\nclusters: [{{name: c, cluster: {{server: '{}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n",
            address(&server)
        ),
    )
    .unwrap();
    let paths = std::env::join_paths([folder.path().join("none"), first.clone(), second]).unwrap();
    let mut command = server.command("list -o name -v 6");
    command.env("KUBECONFIG", paths);
    let output = run(command);
    assert_eq!(output.out, "session.operator.metalbear.co/a\n", "{output:?}");
    let loaded: Vec<&str> = output
        .messages
        .lines()
        .filter(|line| line.contains("Config loaded from file:  "))
        .collect();
    assert_eq!(loaded.len(), 2, "{output:?}");
    assert!(loaded[0].ends_with(first.to_str().unwrap()), "{output:?}");
}

#[test]
fn logs_requests_without_secrets() {
    let server = Fake::new()
        .object(serde_json::json!({
            "metadata": { "name": "a", "namespace": "default" },
            "spec": { "target": "pod/shown", "key": "joiners-only" },
            "status": { "ports": [{ "port": 80, "type": "steal", "filter": "filter-only" }] },
        }))
        .start();
    let messages_at = |level: &str| {
        let output = server.run(&format!("list -o name {level} --token secret-token --as eve"));
        assert_eq!(output.out, "session.operator.metalbear.co/a\n", "{output:?}");
        for secret in ["secret-token", "joiners-only", "filter-only"] {
            assert!(!output.messages.contains(secret), "{secret}: {output:?}");
        }
        output.messages
    };
    for quiet in ["", "-v 0", "-v=-1"] {
        assert_eq!(messages_at(quiet), "", "{quiet}");
    }
    let six = messages_at("-v6");
    let url = format!(
        "{}/apis/visibility.operator.metalbear.co/v1/namespaces/default/sessiontrackers?fieldSelector=status.state%21%3Dterminated&limit=500",
        address(&server)
    );
    assert!(
        six.contains(&format!(
            "] \"Response\" verb=\"GET\" url=\"{url}\" status=\"200 OK\" milliseconds="
        )),
        "{six}"
    );
    assert!(!six.contains("Impersonate-User"), "{six}");
    let seven = messages_at("--v 7");
    assert!(seven.contains("Impersonate-User: eve"), "{seven}");
    assert!(seven.contains("Authorization: Bearer <masked>"), "{seven}");
    assert!(!seven.contains("pod/shown"), "{seven}");
    let eight = messages_at("-v=8");
    assert!(eight.contains("\"Response Body\" body="), "{eight}");
    assert!(eight.contains("pod/shown") && eight.contains("<masked>"), "{eight}");
    for line in eight.lines() {
        assert!(line.starts_with('I') && line.contains("] "), "{line}");
    }
    let bodies = server.run("delete a --dry-run=server -v 8").messages;
    assert!(bodies.contains("\"Request Body\" body="), "{bodies}");
}

/// Creates a kubeconfig whose user is a credential plugin.
#[cfg(unix)]
fn with_exec(address: &str, script: &str) -> Plugin {
    use std::os::unix::fs::PermissionsExt;
    let plugin = Plugin::with_kubeconfig(&format!(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: '{address}'}}}}]\nusers: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [now], env: [{{name: WHO, value: eve}}], interactiveMode: Never}}}}}}]\n"
    ));
    let login = plugin.kubeconfig().with_file_name("login");
    fs::write(&login, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&login, fs::Permissions::from_mode(0o755)).unwrap();
    plugin
}

#[cfg(unix)]
#[test]
fn runs_credential_plugins_relative_to_the_kubeconfig() {
    let server = Fake::new().session("default", "a").start();
    let script = r#"echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"$WHO-$1\"}}""#;
    let plugin = with_exec(&address(&server), script);
    assert!(plugin.run("list -o name").succeeds().ends_with("/a\n"));
    assert_eq!(server.all_requests()[0].header("authorization"), ["Bearer eve-now"]);
    // A token on the command line overrides the plugin.
    plugin.run("list -o name --token own").succeeds();
    assert_eq!(server.requests()[1].header("authorization"), ["Bearer own"]);

    let failing = with_exec(&address(&server), "echo 'log in first' >&2; exit 3");
    // As with kubectl, the messages of the plugin are shown while it runs.
    let output = failing.run("list");
    let (first, second) = output.messages.split_once('\n').unwrap();
    assert_eq!((output.code, first), (Some(1), "log in first"));
    assert!(
        second.starts_with("error: the credential plugin \"")
            && second.ends_with("/login\" of user \"u\" of the kubeconfig failed with exit code 3: see its message above\n"),
        "{output:?}"
    );
}

/// Starts a proxy that denies every request and records it.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            recorded.lock().unwrap().push(line);
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    (address, requests)
}

#[test]
fn uses_proxies_of_kubeconfig_and_environment() {
    // The name does not exist; the proxy denies before resolving it.
    let unresolvable = "https://cluster.invalid:6443";
    let requests_to_proxy = |proxy_url: Option<&str>, env: &[(&str, &str)]| {
        let (address, requests) = proxy();
        let at = |text: &str| text.replace("PROXY", &address);
        let proxy_url =
            proxy_url.map_or(String::new(), |url| format!(", proxy-url: '{}'", at(url)));
        let plugin = Plugin::with_kubeconfig(&format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c}}}}]\nclusters: [{{name: c, cluster: {{server: '{unresolvable}'{proxy_url}}}}}]\n"
        ));
        let mut command = plugin.command("list --request-timeout 20s");
        command.envs(env.iter().map(|(name, value)| (*name, at(value))));
        let output = run(command);
        assert_eq!(output.code, Some(1), "{output:?}");
        requests.lock().unwrap().clone()
    };
    let connect = ["CONNECT cluster.invalid:6443 HTTP/1.1".to_owned()];
    let https = ("HTTPS_PROXY", "http://PROXY");
    assert_eq!(requests_to_proxy(Some("http://PROXY"), &[]), connect);
    assert_eq!(requests_to_proxy(None, &[https]), connect);
    assert_eq!(requests_to_proxy(None, &[("https_proxy", "PROXY")]), connect);
    assert_eq!(requests_to_proxy(None, &[https, ("NO_PROXY", ".invalid")]), [""; 0]);
    // The kubeconfig overrides the environment.
    let both = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    assert_eq!(requests_to_proxy(Some("http://PROXY"), &both), connect);
    assert_eq!(requests_to_proxy(None, &[]), [""; 0]);
}

#[test]
fn reports_unreadable_certificates() {
    let server = Fake::new().start();
    let message = server.run("list --client-certificate /none --client-key /none").fails();
    assert!(
        message.starts_with("error: unable to read client-cert /none for dev due to "),
        "{message}"
    );
    let message = server.run("list -s https://127.0.0.1:1 --certificate-authority /none").fails();
    assert!(message.contains("/none"), "{message}");
    assert!(server.all_requests().is_empty());
}
