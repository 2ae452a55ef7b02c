use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    fake::{Answer, Fake, status},
    plugin::Plugin,
};

const COMMANDS: [&str; 6] =
    ["list", "list -A -o json", "describe a", "delete a", "kill-all -y", "version"];

/// Runs every command, each of which has to fail with one line that holds the text.
fn all_fail(plugin: &Plugin, expected: &str) {
    for command in COMMANDS {
        let ran = plugin.run(command);
        assert_eq!(ran.code, Some(1), "{command}");
        let out = if command == "version" { "Client Version: " } else { "" };
        assert!(ran.out.starts_with(out) && ran.out.lines().count() <= 1, "{command}: {}", ran.out);
        assert!(ran.messages.contains(expected), "{command}: {}", ran.messages);
        assert_eq!(ran.messages.lines().count(), 1, "{command}: {}", ran.messages);
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_dead_server() {
    let address = free_address();
    let start = Instant::now();
    let expected = format!(
        "The connection to the server {address} was refused - did you specify the right host or port?\n"
    );
    all_fail(&Plugin::at(&format!("http://{address}")), &expected);
    all_fail(&Plugin::at(&format!("https://{address}")), &expected);
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn a_server_that_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let message =
        Plugin::at(&format!("http://{address}")).run("list --request-timeout 300ms").failed();
    assert!(message.contains("did not answer within 300ms"), "{message}");
}

#[test]
fn a_connection_that_breaks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":").unwrap();
        }
    });
    let message = Plugin::at(&format!("http://{address}")).run("list").failed();
    assert!(message.starts_with("Unable to connect to the server: "), "{message}");
}

#[test]
fn a_server_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let plugin = Plugin::at(&format!("https://{address}"));
    let message = plugin.run("list --insecure-skip-tls-verify").failed();
    assert!(message.contains("does not speak TLS"), "{message}");
}

#[test]
fn expired_credentials() {
    let unauthorized = status(401, "Unauthorized", "Unauthorized", &json!({}));
    let server = Fake::new()
        .rule(move |_| Some(Answer { code: 401, headers: "", body: unauthorized.clone() }))
        .start();
    for command in COMMANDS {
        let messages = server.run(command).messages;
        assert!(
            messages.starts_with("error: You must be logged in to the server (Unauthorized): the credentials of user \"dev\" of the kubeconfig are missing, wrong or expired"),
            "{messages}"
        );
        assert_eq!(messages.lines().count(), 1);
    }
}

#[test]
fn sessions_that_are_not_installed() {
    let server = Fake::new()
        .rule(|seen| {
            let body = "404 page not found\n".to_owned();
            (seen.path != "/version").then_some(Answer { code: 404, headers: "", body })
        })
        .start();
    for command in &COMMANDS[..5] {
        let message = server.run(command).failed();
        assert!(message.contains("mirrord-sessions is not installed on this cluster"), "{message}");
    }
    let text = server.run("version").went_well();
    assert!(text.ends_with("Sessions: <not installed>\n"), "{text}");
}

#[test]
fn servers_that_are_no_kubernetes() {
    for (code, body) in [
        (200, "<html>hello</html>"),
        (200, "[]"),
        (200, "{\"items\": 5}"),
        (404, "<html>not here</html>"),
        (502, "\u{1b}[2Jbad gateway"),
        (302, ""),
    ] {
        let server = Fake::new()
            .rule(move |_| Some(Answer { code, headers: "", body: body.into() }))
            .start();
        let message = server.run("list").failed();
        assert!(message.contains("Kubernetes API server"), "{code} {body}: {message}");
    }
}

#[test]
fn rbac_says_what_is_missing() {
    let server = Fake::new()
        .session("shop", "487f4f2b6d2376ad")
        .forbid("DELETE /namespaces/shop/sessions/487f4f2b6d2376ad", "delete", Some("shop"))
        .start();
    assert_eq!(
        server.run("delete -n shop 487F4F2B6D2376AD").failed(),
        "Error from server (Forbidden): User \"dev\" cannot delete sessions.operator.metalbear.co \"487F4F2B6D2376AD\" in namespace \"shop\": ask an administrator for it: kubectl create rolebinding mirrord-operator-user:dev --clusterrole=mirrord-operator-user --user=dev -n shop"
    );
}

#[test]
fn a_busy_server_is_asked_again_when_it_wants_to() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Fake::new()
        .session("default", "a")
        .rule(move |_| {
            let n = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = status(429, "TooManyRequests", "busy", &json!({}));
            (n < 2).then_some(Answer { code: 429, headers: "retry-after: 0\r\n", body })
        })
        .start();
    assert_eq!(server.run("list -o name").went_well().lines().count(), 1);
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn kubeconfigs_that_are_of_no_use() {
    let at = Plugin::with;
    let cases = [
        ("", "no current context"),
        (
            "current-context: gone\ncontexts: [{name: a, context: {cluster: c}}]",
            "context \"gone\" does not exist in the kubeconfig (it has a)",
        ),
        ("a: [unclosed", "error loading config file"),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'not a server'}}]",
            "error: ",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'ftp://x'}}]",
            "is not the address of a server",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /none/ca.crt}}]",
            "/none/ca.crt",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin-here, interactiveMode: Never}}}]",
            "credential plugin",
        ),
    ];
    for (kubeconfig, expected) in cases {
        all_fail(&at(kubeconfig), expected);
    }
}

#[test]
fn no_kubeconfig_at_all() {
    let plugin = Plugin::with("");
    let mut command = plugin.command("list");
    command.env_remove("KUBECONFIG");
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.starts_with("error: there is no kubeconfig (looked in "), "{message}");
    let path = Path::new(".kube").join("config");
    let rest = format!("{}): set KUBECONFIG or give --kubeconfig", path.display());
    assert!(message.contains(&rest), "{message}");
    let message = plugin.run("list --kubeconfig /none").failed();
    assert_eq!(message, "error: there is no kubeconfig /none");
    let message = plugin.run("list --context x").failed();
    assert!(message.starts_with("error: context \"x\" does not exist"), "{message}");
}

#[test]
fn flags_alone_name_a_server_and_proxies_spare_loopback() {
    let server = Fake::new().session("default", "a").start();
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let address = config.split('"').nth(1).unwrap().to_owned();
    let none = Plugin::with("");
    let mut command = none.command(&format!("list -o name -s {address} --token t"));
    command.env("HTTP_PROXY", "http://127.0.0.1:1").env("HTTPS_PROXY", "http://127.0.0.1:1");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "session.operator.metalbear.co/a\n");
}

#[test]
fn versions() {
    let server = Fake::new().start();
    let value: Value = serde_json::from_str(&server.run("version -o json").went_well()).unwrap();
    assert_eq!(value["serverVersion"]["gitVersion"], "v1.36.3");
    assert_eq!(value["sessions"]["installed"], true);
    // Asks nobody.
    let own = Plugin::with("a: [").run("version --client").went_well();
    assert_eq!(own, format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")));
}
