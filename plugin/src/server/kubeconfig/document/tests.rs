use std::path::Path;

use super::{super::SelectedContext, *};
use crate::cli::ConnectionOptions;

/// Selects a context of a kubeconfig whose other entries are odd.
fn select_from(kubeconfig: &str, context: &str) -> Result<SelectedContext, String> {
    let path = Path::new("/kube/config");
    let config = Kubeconfig::parse(kubeconfig.as_bytes(), Some(path))
        .map_err(|reason| format!("file: {reason}"))?;
    let flags = ConnectionOptions { context: Some(context.into()), ..ConnectionOptions::default() };
    SelectedContext::select(&config, &flags).map_err(|error| error.to_string())
}

const GOOD: &str = "
contexts:
- {name: good, context: {cluster: good, user: good}}
- CONTEXT
clusters:
- {name: good, cluster: {server: 'https://good'}}
- CLUSTER
users:
- {name: good, user: {token: t}}
- USER
";

const ODD: &str = "{name: odd, context: {cluster: odd, user: odd}}";

/// (context, cluster, user, error of the odd context; empty if it is usable)
const CASES: [(&str, &str, &str, &str); 18] = [
    (ODD, "{name: odd, cluster: {server: 'https://odd'}}", "{name: odd}", ""),
    (
        "{name: odd, context: {user: good}}",
        "x",
        "x",
        "context \"odd\" of the kubeconfig names no cluster: choose another with --context, or give --cluster",
    ),
    (
        "{name: odd}",
        "x",
        "x",
        "context \"odd\" of the kubeconfig names no cluster: choose another with --context, or give --cluster",
    ),
    (
        "{name: odd, context: 5}",
        "x",
        "x",
        "context \"odd\" of the kubeconfig /kube/config cannot be used: its content is not a map of settings",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "null",
        "{name: odd, user: {auth-provider: {name: gcp, config: null}}}",
        "",
    ),
    (
        ODD,
        "{name: odd}",
        "{name: odd}",
        "cluster \"odd\" of the kubeconfig has no server: set it, or give --server",
    ),
    (
        ODD,
        "{name: odd, cluster: {server: 5}}",
        "5",
        "cluster \"odd\" of the kubeconfig /kube/config cannot be used: \"server\" is not a text: put it in quotes",
    ),
    (
        ODD,
        "{name: odd, cluster: {server: 'https://odd', insecure-skip-tls-verify: 7}}",
        "5",
        "cluster \"odd\" of the kubeconfig /kube/config cannot be used: \"insecure-skip-tls-verify\" is not true or false",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {token: 123456}}",
        "user \"odd\" of the kubeconfig /kube/config cannot be used: \"token\" is not a text: put it in quotes",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {command: [x]}}}",
        "user \"odd\" of the kubeconfig /kube/config cannot be used: \"exec.command\" is not a text",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: null, as-groups: null, token: null}}",
        "",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {env: [{value: x}]}}}",
        "user \"odd\" of the kubeconfig /kube/config cannot be used: a variable in \"exec.env\" has no usable name",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {command: x}}}",
        "apiVersion must be specified for odd to use exec authentication plugin",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {apiVersion: client.authentication.k8s.io/v1}}}",
        "command must be specified for odd to use exec authentication plugin",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x}, auth-provider: {name: oidc}}}",
        "authProvider cannot be provided in combination with an exec plugin for odd: remove one of them from the kubeconfig",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {apiVersion: v9, command: x}}}",
        "exec plugin: invalid apiVersion \"v9\" for odd: expected client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1",
    ),
    (
        "{name: odd, context: {cluster: good, user: odd}}",
        "5",
        "{name: odd, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: No}}}",
        "invalid interactiveMode for odd: \"No\": expected Never, IfAvailable or Always",
    ),
    (
        "{name: good, context: {cluster: good, user: good}}",
        "{name: good, cluster: {server: 'https://good'}}",
        "{name: odd}",
        "context \"odd\" does not exist in the kubeconfig (it has good)",
    ),
];

#[test]
fn an_odd_entry_makes_no_other_context_unusable() {
    for (context, cluster, user, expected) in CASES {
        let text = GOOD.replace("CONTEXT", context).replace("CLUSTER", cluster);
        let text = text.replace("USER", user);
        assert!(
            select_from(&text, "good").is_ok(),
            "{text}: {:?}",
            select_from(&text, "good").err()
        );
        let error = select_from(&text, "odd").err();
        let expected = (!expected.is_empty()).then(|| format!("error: {expected}"));
        assert_eq!(error, expected, "{text}");
    }
}

#[test]
fn rejects_an_ambiguous_name_when_it_is_selected() {
    let text = "
contexts: [{name: a, context: {cluster: c}}, {name: b, context: {cluster: d}}, {name: b, context: {cluster: d}}]
clusters: [{name: c, cluster: {server: 'https://1'}}, {name: c, cluster: {server: 'https://2'}}, {name: d, cluster: {server: 'https://3'}}]
";
    assert_eq!(
        select_from(text, "a").err().unwrap(),
        "error: cluster \"c\" of the kubeconfig /kube/config cannot be used: the file has several entries with this name"
    );
    assert!(select_from(text, "b").is_ok());
}

const PLAIN: &str = "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: CLUSTER}]\nusers: [{name: u, user: USER}]\n";

#[test]
fn reads_what_kubectl_reads() {
    let server = |kubeconfig: &[u8]| {
        let config = Kubeconfig::parse(kubeconfig, Some(Path::new("/kube/config"))).unwrap();
        let selected = SelectedContext::select(&config, &ConnectionOptions::default()).unwrap();
        (selected.cluster, selected.user)
    };
    let with = |cluster: &str, user: &str| {
        server(PLAIN.replace("CLUSTER", cluster).replace("USER", user).as_bytes())
    };
    // YAML 1.1 booleans, duplicate keys, unknown fields, extensions and empty texts.
    let (cluster, _) = with(
        "{server: 'x', server: ' https://y ', insecure-skip-tls-verify: yes, certificate-authority: '', new: {a: 1}, extensions: [{name: e, extension: {a: 1}}]}",
        "{}",
    );
    assert_eq!(cluster.server.as_deref(), Some("https://y"));
    assert!(cluster.insecure_skip_tls_verify && cluster.certificate_authority.is_none());
    // Relative paths.
    let (_, user) = with(
        "{server: s}",
        "{tokenFile: t/../token, exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: bin/login, args: [a, null], env: [{name: A}]}}",
    );
    assert_eq!(user.token_file.as_deref(), Some("/kube/t/../token"));
    let exec = user.exec.unwrap();
    assert_eq!(exec.command, "/kube/bin/login");
    assert_eq!(exec.args, ["a", ""]);
    assert_eq!(exec.env, [("A".to_owned(), String::new())]);
    let (_, user) = with(
        "{server: s}",
        "{exec: {apiVersion: client.authentication.k8s.io/v1, command: login}}",
    );
    assert_eq!(user.exec.unwrap().command, "login");
    // Anchors, merge keys and JSON.
    let anchors = "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nbase: &base {server: 'https://y', tls-server-name: n}\nclusters: [{name: c, cluster: {<<: *base, tls-server-name: m}}]\n";
    let (cluster, _) = server(anchors.as_bytes());
    assert_eq!(cluster.server.as_deref(), Some("https://y"));
    assert_eq!(cluster.tls_server_name.as_deref(), Some("m"));
    let json = br#"{"apiVersion":"v1","kind":"Config","preferences":{},"current-context":"a","contexts":[{"name":"a","context":{"cluster":"c"}}],"clusters":[{"name":"c","cluster":{"server":"https://y"}}],"users":null}"#;
    assert_eq!(server(json).0.server.as_deref(), Some("https://y"));
    // UTF-16 of Windows, and a byte order mark.
    let text = std::str::from_utf8(json).unwrap();
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(server(&utf16).0.server.as_deref(), Some("https://y"));
    assert_eq!(
        server(&[b"\xef\xbb\xbf", &json[..]].concat()).0.server.as_deref(),
        Some("https://y")
    );
}
