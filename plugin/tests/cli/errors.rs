use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    fake::{Fake, Response, status},
    plugin::Plugin,
};

const COMMANDS: [&str; 6] =
    ["list", "list -A -o json", "describe a", "delete a", "kill-all -y", "version"];

/// Runs every command and asserts that each fails with one line containing the text.
fn assert_all_fail(plugin: &Plugin, expected: &str) {
    for command in COMMANDS {
        let output = plugin.run(command);
        assert_eq!(output.code, Some(1), "{command}");
        let out = if command == "version" { "Client Version: " } else { "" };
        assert!(
            output.out.starts_with(out) && output.out.lines().count() <= 1,
            "{command}: {}",
            output.out
        );
        assert!(output.messages.contains(expected), "{command}: {}", output.messages);
        assert_eq!(output.messages.lines().count(), 1, "{command}: {}", output.messages);
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn reports_a_refused_connection() {
    let address = free_address();
    let start = Instant::now();
    let expected = format!(
        "The connection to the server {address} was refused - did you specify the right host or port?\n"
    );
    assert_all_fail(&Plugin::for_server(&format!("http://{address}")), &expected);
    assert_all_fail(&Plugin::for_server(&format!("https://{address}")), &expected);
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn reports_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let message = Plugin::for_server(&format!("http://{address}"))
        .run("list --request-timeout 300ms")
        .fails();
    assert!(message.contains("did not answer within 300ms"), "{message}");
}

#[test]
fn reports_a_broken_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":").unwrap();
        }
    });
    let message = Plugin::for_server(&format!("http://{address}")).run("list").fails();
    assert!(message.starts_with("Unable to connect to the server: "), "{message}");
}

#[test]
fn reports_a_server_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let plugin = Plugin::for_server(&format!("https://{address}"));
    let message = plugin.run("list --insecure-skip-tls-verify").fails();
    assert!(message.contains("does not speak TLS"), "{message}");
}

#[test]
fn reports_expired_credentials() {
    let unauthorized = status(401, "Unauthorized", "Unauthorized", &json!({}));
    let server = Fake::new()
        .rule(move |_| Some(Response { code: 401, headers: "", body: unauthorized.clone() }))
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
fn reports_a_missing_installation() {
    let server = Fake::new()
        .rule(|request| {
            let body = "404 page not found\n".to_owned();
            (request.path != "/version").then_some(Response { code: 404, headers: "", body })
        })
        .start();
    for command in &COMMANDS[..5] {
        let message = server.run(command).fails();
        assert!(message.contains("mirrord-sessions is not installed on this cluster"), "{message}");
    }
    let text = server.run("version").succeeds();
    assert!(text.ends_with("Sessions: <not installed>\n"), "{text}");
}

#[test]
fn reports_servers_other_than_kubernetes() {
    for (code, body) in [
        (200, "<html>hello</html>"),
        (200, "[]"),
        (200, "{\"items\": 5}"),
        (404, "<html>not here</html>"),
        (502, "\u{1b}[2Jbad gateway"),
        (302, ""),
    ] {
        let server = Fake::new()
            .rule(move |_| Some(Response { code, headers: "", body: body.into() }))
            .start();
        let message = server.run("list").fails();
        assert!(message.contains("Kubernetes API server"), "{code} {body}: {message}");
    }
}

#[test]
fn reports_missing_permissions() {
    let server = Fake::new()
        .session("shop", "487f4f2b6d2376ad")
        .forbid("DELETE /namespaces/shop/sessions/487f4f2b6d2376ad", "delete", Some("shop"))
        .start();
    assert_eq!(
        server.run("delete -n shop 487F4F2B6D2376AD").fails(),
        "Error from server (Forbidden): User \"dev\" cannot delete sessions.operator.metalbear.co \"487F4F2B6D2376AD\" in namespace \"shop\": ask an administrator for it: kubectl create rolebinding mirrord-operator-user:dev --clusterrole=mirrord-operator-user --user=dev -n shop"
    );
}

#[test]
fn retries_after_the_delay_of_the_server() {
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let server = Fake::new()
        .session("default", "a")
        .rule(move |_| {
            let n = requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = status(429, "TooManyRequests", "busy", &json!({}));
            (n < 2).then_some(Response { code: 429, headers: "retry-after: 0\r\n", body })
        })
        .start();
    assert_eq!(server.run("list -o name").succeeds().lines().count(), 1);
    assert_eq!(server.all_requests().len(), 4);
}

#[test]
fn reports_invalid_kubeconfigs() {
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
        assert_all_fail(&Plugin::with_kubeconfig(kubeconfig), expected);
    }
}

#[test]
fn reports_a_missing_kubeconfig() {
    let plugin = Plugin::with_kubeconfig("");
    let mut command = plugin.command("list");
    command.env_remove("KUBECONFIG");
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.starts_with("error: there is no kubeconfig (looked in "), "{message}");
    let path = Path::new(".kube").join("config");
    let rest = format!("{}): set KUBECONFIG or give --kubeconfig", path.display());
    assert!(message.contains(&rest), "{message}");
    let message = plugin.run("list --kubeconfig /none").fails();
    assert_eq!(message, "error: there is no kubeconfig /none");
    let message = plugin.run("list --context x").fails();
    assert!(message.starts_with("error: context \"x\" does not exist"), "{message}");
}

#[test]
fn connects_by_flags_alone_and_bypasses_proxies_for_loopback() {
    let server = Fake::new().session("default", "a").start();
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let address = config.split('"').nth(1).unwrap().to_owned();
    let none = Plugin::with_kubeconfig("");
    let mut command = none.command(&format!("list -o name -s {address} --token t"));
    command.env("HTTP_PROXY", "http://127.0.0.1:1").env("HTTPS_PROXY", "http://127.0.0.1:1");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "session.operator.metalbear.co/a\n");
}

#[test]
fn prints_versions() {
    let server = Fake::new().start();
    let value: Value = serde_json::from_str(&server.run("version -o json").succeeds()).unwrap();
    assert_eq!(value["serverVersion"]["gitVersion"], "v1.36.3");
    assert_eq!(value["sessions"]["installed"], true);
    // This command sends no request.
    let client = Plugin::with_kubeconfig("a: [").run("version --client").succeeds();
    assert_eq!(client, format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")));
}
