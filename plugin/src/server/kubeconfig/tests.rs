use std::fs;

use super::*;

const TWO: &str = r#"
apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: ca, user: ua, namespace: shop}}
- {name: b, context: {cluster: cb, user: gone}}
- {name: c, context: {cluster: gone}}
- {name: d, context: {cluster: empty}}
- {name: e, context: {cluster: both}}
clusters:
- {name: ca, cluster: {server: "https://a:6443", certificate-authority-data: ""}}
- {name: cb, cluster: {server: "https://b:6443"}}
- {name: empty, cluster: {}}
- {name: both, cluster: {server: "https://b", certificate-authority: x, insecure-skip-tls-verify: true}}
users:
- {name: ua, user: {token: secret, as: "boss"}}
"#;

fn selected(flags: &Connection) -> Result<Selected, String> {
    let config = Kubeconfig::from_yaml(TWO).unwrap();
    Selected::of(&config, flags).map_err(|error| error.to_string())
}

fn refused(flags: &Connection) -> String {
    selected(flags).err().unwrap()
}

#[test]
fn the_current_context_and_flags_over_it() {
    let plain = selected(&Connection::default()).unwrap();
    assert_eq!(plain.cluster.server.as_deref(), Some("https://a:6443"));
    assert_eq!(plain.cluster.certificate_authority_data, None);
    assert_eq!(plain.namespace.as_deref(), Some("shop"));
    assert_eq!(plain.credentials, "user \"ua\" of the kubeconfig");
    assert_eq!(plain.user.impersonate.as_deref(), Some("boss"));
    assert!(plain.user.token.is_some());

    let flags = Connection {
        server: Some("https://x:1".into()),
        token: Some("other".into()),
        impersonate: Some("eve".into()),
        impersonate_groups: vec!["g".into()],
        certificate_authority: Some("ca.crt".into()),
        ..Connection::default()
    };
    let overridden = selected(&flags).unwrap();
    assert_eq!(overridden.cluster.server.as_deref(), Some("https://x:1"));
    assert_eq!(overridden.cluster.certificate_authority.as_deref(), Some("ca.crt"));
    assert_eq!(overridden.user.impersonate.as_deref(), Some("eve"));
    assert_eq!(overridden.credentials, "--token");

    let insecure = |authority: Option<&str>, insecure_skip_tls_verify| {
        let flags = Connection {
            context: Some("e".into()),
            certificate_authority: authority.map(Into::into),
            insecure_skip_tls_verify,
            ..Connection::default()
        };
        selected(&flags).map(|selected| selected.cluster.insecure_skip_tls_verify)
    };
    assert_eq!(insecure(Some("ca.crt"), false), Ok(None));
    assert_eq!(insecure(None, true), Ok(Some(true)));
}

#[test]
fn what_does_not_exist_is_named_with_what_there_is() {
    let context = |name: &str| Connection { context: Some(name.into()), ..Connection::default() };
    let cases = [
        (
            context("x"),
            "error: context \"x\" does not exist in the kubeconfig (it has a, b, c, d, e)",
        ),
        (context("b"), "error: auth info \"gone\" does not exist in the kubeconfig (it has ua)"),
        (
            context("c"),
            "error: cluster \"gone\" does not exist in the kubeconfig (it has both, ca, cb, empty)",
        ),
        (
            context("d"),
            "error: cluster \"empty\" of the kubeconfig has no server: set it, or give --server",
        ),
        (
            Connection { cluster: Some("x".into()), ..Connection::default() },
            "error: cluster \"x\" does not exist in the kubeconfig (it has both, ca, cb, empty)",
        ),
        (
            Connection {
                impersonate_groups: vec!["g".into()],
                context: Some("d".into()),
                server: Some("https://x".into()),
                ..Connection::default()
            },
            "error: requesting uid, groups or user-extra for the command line without impersonating a user: give --as too",
        ),
        (
            context("e"),
            "error: specifying a root certificates file with the insecure flag is not allowed: remove certificate-authority or insecure-skip-tls-verify from the kubeconfig",
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(refused(&flags), expected);
    }
}

#[test]
fn empty_flags_are_not_given() {
    let empty = Some(String::new());
    let flags = Connection {
        context: empty.clone(),
        cluster: empty.clone(),
        user: empty.clone(),
        server: empty.clone(),
        token: empty.clone(),
        certificate_authority: empty.clone(),
        client_certificate: empty.clone(),
        client_key: empty.clone(),
        tls_server_name: empty.clone(),
        impersonate: empty.clone(),
        impersonate_uid: empty,
        ..Connection::default()
    };
    let selected = selected(&flags).unwrap();
    assert_eq!(selected.cluster.server.as_deref(), Some("https://a:6443"));
    assert_eq!(selected.user.impersonate.as_deref(), Some("boss"));
    assert_eq!(selected.credentials, "user \"ua\" of the kubeconfig");
}

#[test]
fn client_certificates_of_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        Some(path.to_str().unwrap().to_owned())
    };
    let flags = |certificate: Option<String>, key: Option<String>| Connection {
        client_certificate: certificate,
        client_key: key,
        ..Connection::default()
    };
    let (certificate, key) = (file("c"), file("k"));
    let used = selected(&flags(certificate.clone(), key.clone())).unwrap();
    assert_eq!(used.user.client_certificate, certificate);
    assert_eq!(used.user.client_key, key);
    assert_eq!(used.credentials, "--client-certificate");
    assert_eq!(
        refused(&flags(certificate, None)),
        "error: client-key-data or client-key must be specified for ua to use the clientCert authentication method: give --client-key too"
    );
    let gone = refused(&flags(Some("/none".into()), key));
    let why = std::fs::read("/none").unwrap_err();
    let expected = format!("error: unable to read client-cert /none for ua due to {why}");
    assert!(gone.starts_with(&expected), "{gone}");
}

#[test]
fn two_ways_to_log_in() {
    let config = Kubeconfig::from_yaml(
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://c'}}]\nusers: [{name: u, user: {token: t, username: x, password: y}}]",
    )
    .unwrap();
    let refused = Selected::of(&config, &Connection::default()).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "error: more than one authentication method found for u; found [token basicAuth], only one is allowed"
    );
}

#[test]
fn a_token_and_a_password_from_two_places() {
    let config = Kubeconfig::from_yaml(
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://c'}}]\nusers: [{name: u, user: {token: t}}]",
    )
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (username, password, token) in
        [(text("x"), None, None), (None, text("y"), None), (text("x"), text("y"), text("z"))]
    {
        let flags = Connection { token, username, password, ..Connection::default() };
        let refused = Selected::of(&config, &flags).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "error: more than one authentication method found for u; found [token basicAuth], only one is allowed"
        );
    }
}

#[test]
fn without_a_current_context() {
    let empty = Kubeconfig::default();
    let refused = Selected::of(&empty, &Connection::default()).err().unwrap().to_string();
    assert!(refused.contains("no current context"), "{refused}");
    let flags = Connection { server: Some("http://x:8080".into()), ..Connection::default() };
    let selected = Selected::of(&empty, &flags).ok().unwrap();
    assert_eq!(selected.cluster.server.as_deref(), Some("http://x:8080"));
}

#[test]
fn several_files_and_those_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    fs::write(
        &first,
        "current-context: ''\nclusters: [{name: c, cluster: {server: 'https://1'}}]\n",
    )
    .unwrap();
    fs::write(&second, TWO).unwrap();
    let variable =
        std::env::join_paths([folder.path().join("none"), first.clone(), "".into(), second])
            .unwrap();
    let files = Files::of(None, Some(&variable), None);
    let merged = files.read(|_| ()).unwrap().unwrap();
    assert_eq!(merged.current_context.as_deref(), Some("a"));
    assert_eq!(merged.clusters.len(), 5);

    let named = Files::of(Some(&first), Some(&variable), None);
    assert_eq!(named, Files::Named(first));
    let gone = Files::Named(folder.path().join("none")).read(|_| ()).unwrap_err().to_string();
    assert!(gone.starts_with("error: there is no kubeconfig "), "{gone}");
    let home = Files::of(None, Some("".as_ref()), Some("/home/x".into()));
    let expected = Path::new("/home/x").join(".kube").join("config");
    assert_eq!(home.looked_in(), expected.display().to_string());
    assert!(Files::of(None, None, None).read(|_| ()).unwrap().is_none());
}

#[test]
fn files_that_cannot_be_read_say_why_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (n, content) in
        [&b"a: [unclosed\n  b: c"[..], b"\xff\xfe\xff", b"- 1", b"\x00"].iter().enumerate()
    {
        let path = folder.path().join(n.to_string());
        fs::write(&path, content).unwrap();
        let error = Files::Named(path).read(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("error: error loading config file \""), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error = Files::Named(folder.path().into()).read(|_| ()).unwrap_err().to_string();
    // Windows tells that access is denied.
    let why = if cfg!(windows) { "os error 5" } else { "directory" };
    assert!(error.contains(why), "{error}");
}
