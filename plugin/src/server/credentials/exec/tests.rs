use super::*;

const V1: &str = "client.authentication.k8s.io/v1";

fn parse(text: &str) -> Result<(Option<String>, Option<Timestamp>), String> {
    parse_answer(text.as_bytes(), V1).map(|answer| (answer.token, answer.expires_at))
}

#[test]
fn parses_answers_of_plugins() {
    let token =
        |expiry: Option<&str>| Ok((Some("t".to_owned()), expiry.map(|time| time.parse().unwrap())));
    let failure = |text: &str| Err(text.to_owned());
    let other = "printed something other than an ExecCredential";
    let cases = [
        (
            r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}"#,
            token(None),
        ),
        (
            "kind: ExecCredential\nstatus: {token: t, expirationTimestamp: '2026-01-02T03:04:05Z'}",
            token(Some("2026-01-02T03:04:05Z")),
        ),
        ("status: {token: t, expirationTimestamp: null, clientKeyData: ''}", token(None)),
        (
            "status: {token: t, expirationTimestamp: soon}",
            failure("returned an invalid expirationTimestamp"),
        ),
        ("{}", failure("returned no credential: it has no status")),
        ("status: {}", failure("returned neither a token nor a client certificate")),
        (
            "status: {clientCertificateData: x}",
            failure("returned only one of client certificate and key"),
        ),
        (
            "status: {clientCertificateData: x, clientKeyData: y}",
            failure(
                "returned an unusable credential: the client certificate is not a certificate in PEM",
            ),
        ),
        ("Please log in", failure(other)),
        ("", failure("returned no credential: it has no status")),
        ("kind: Secret\nstatus: {token: t}", failure(other)),
        (
            "apiVersion: client.authentication.k8s.io/v1beta1\nstatus: {token: t}",
            failure(
                "is configured to use API version client.authentication.k8s.io/v1, and returned version client.authentication.k8s.io/v1beta1",
            ),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn uses_the_terminal_as_client_go() {
    for (mode, stdin, expected) in [
        (Some("Never"), Stdin::Terminal, Some(false)),
        (Some("Never"), Stdin::Unavailable, Some(false)),
        (Some("IfAvailable"), Stdin::Terminal, Some(true)),
        (Some("IfAvailable"), Stdin::Unavailable, Some(false)),
        (None, Stdin::Terminal, Some(true)),
        (None, Stdin::Unavailable, Some(false)),
        (Some("Always"), Stdin::Terminal, Some(true)),
        (Some("Always"), Stdin::Unavailable, None),
    ] {
        assert_eq!(is_interactive(mode, stdin).ok(), expected, "{mode:?} {stdin:?}");
    }
}

#[test]
fn passes_the_cluster_only_if_asked() {
    let cluster = Cluster {
        server: Some("https://k8s".into()),
        tls_server_name: Some("n".into()),
        proxy_url: Some("http://p".into()),
        plugin_settings: Some(json!({ "audience": "a" })),
        ..Cluster::default()
    };
    let info = ClusterInfo::new(&cluster, Some(b"pem"));
    assert_eq!(
        request(V1, true, Some(&info.0)),
        json!({
            "apiVersion": V1, "kind": "ExecCredential",
            "spec": { "interactive": true, "cluster": {
                "server": "https://k8s", "tls-server-name": "n", "proxy-url": "http://p",
                "certificate-authority-data": "cGVt", "config": { "audience": "a" },
            } },
        })
    );
    assert_eq!(
        request(V1, false, None),
        json!({ "apiVersion": V1, "kind": "ExecCredential", "spec": { "interactive": false } })
    );
}

#[test]
fn shows_the_install_hint_on_one_line() {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    for (hint, expected) in [
        (
            None,
            "is not installed: the command was not found: install it, or check \"exec\" in the kubeconfig",
        ),
        (
            Some(" "),
            "is not installed: the command was not found: install it, or check \"exec\" in the kubeconfig",
        ),
        (
            Some("brew install\n  login\u{1b}[0m"),
            "is not installed: the command was not found: brew install login\\x1b[0m",
        ),
    ] {
        assert_eq!(start_error(&missing, hint), expected);
    }
}
