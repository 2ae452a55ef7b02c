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

fn select(flags: &ConnectionOptions) -> Result<SelectedContext, String> {
    let config = Kubeconfig::parse(TWO.as_bytes(), None).unwrap();
    SelectedContext::select(&config, flags).map_err(|error| error.to_string())
}

fn select_error(flags: &ConnectionOptions) -> String {
    select(flags).err().unwrap()
}

#[test]
fn flags_override_the_current_context() {
    let context = select(&ConnectionOptions::default()).unwrap();
    assert_eq!(context.cluster.server.as_deref(), Some("https://a:6443"));
    assert_eq!(context.cluster.certificate_authority_data, None);
    assert_eq!(context.namespace.as_deref(), Some("shop"));
    assert_eq!(context.credentials, "user \"ua\" of the kubeconfig");
    assert_eq!(context.user.impersonation.user.as_deref(), Some("boss"));
    assert!(context.user.token.is_some());

    let readable = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let flags = ConnectionOptions {
        server: Some("https://x:1".into()),
        token: Some("other".into()),
        impersonate: Some("eve".into()),
        impersonate_groups: vec!["g".into()],
        certificate_authority: Some(readable.clone()),
        ..ConnectionOptions::default()
    };
    let overridden = select(&flags).unwrap();
    assert_eq!(overridden.cluster.server.as_deref(), Some("https://x:1"));
    assert_eq!(overridden.cluster.certificate_authority.as_deref(), Some(&*readable));
    assert_eq!(overridden.user.impersonation.user.as_deref(), Some("eve"));
    assert_eq!(overridden.credentials, "--token");

    let insecure = |authority: Option<&str>, insecure_skip_tls_verify| {
        let flags = ConnectionOptions {
            context: Some("e".into()),
            certificate_authority: authority.map(Into::into),
            insecure_skip_tls_verify,
            ..ConnectionOptions::default()
        };
        select(&flags).map(|selected| selected.cluster.insecure_skip_tls_verify)
    };
    assert_eq!(insecure(Some(&readable), false), Ok(false));
    assert_eq!(insecure(None, true), Ok(true));
}

#[test]
fn errors_list_the_existing_names() {
    let context = |name: &str| ConnectionOptions {
        context: Some(name.into()),
        ..ConnectionOptions::default()
    };
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
            ConnectionOptions { cluster: Some("x".into()), ..ConnectionOptions::default() },
            "error: cluster \"x\" does not exist in the kubeconfig (it has both, ca, cb, empty)",
        ),
        (
            ConnectionOptions {
                impersonate_groups: vec!["g".into()],
                context: Some("d".into()),
                server: Some("https://x".into()),
                ..ConnectionOptions::default()
            },
            "error: requesting uid, groups or user-extra for the command line without impersonating a user: give --as too",
        ),
        (
            context("e"),
            "error: specifying a root certificates file with the insecure flag is not allowed: remove certificate-authority or insecure-skip-tls-verify from the kubeconfig",
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(select_error(&flags), expected);
    }
}

#[test]
fn ignores_empty_flags() {
    let empty = Some(String::new());
    let flags = ConnectionOptions {
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
        ..ConnectionOptions::default()
    };
    let selected = select(&flags).unwrap();
    assert_eq!(selected.cluster.server.as_deref(), Some("https://a:6443"));
    assert_eq!(selected.user.impersonation.user.as_deref(), Some("boss"));
    assert_eq!(selected.credentials, "user \"ua\" of the kubeconfig");
}

#[test]
fn client_certificate_flags_replace_those_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        Some(path.to_str().unwrap().to_owned())
    };
    let flags = |certificate: Option<String>, key: Option<String>| ConnectionOptions {
        client_certificate: certificate,
        client_key: key,
        ..ConnectionOptions::default()
    };
    let (certificate, key) = (file("c"), file("k"));
    let used = select(&flags(certificate.clone(), key.clone())).unwrap();
    assert_eq!(used.user.client_certificate, certificate);
    assert_eq!(used.user.client_key, key);
    assert_eq!(used.credentials, "--client-certificate");
    assert_eq!(
        select_error(&flags(certificate, None)),
        "error: client-key-data or client-key must be specified for ua to use the clientCert authentication method: give --client-key too"
    );
    let unreadable = select_error(&flags(Some("/none".into()), key));
    let io_error = std::fs::read("/none").unwrap_err();
    let expected = format!("error: unable to read client-cert /none for ua due to {io_error}");
    assert!(unreadable.starts_with(&expected), "{unreadable}");
}

#[test]
fn rejects_two_authentication_methods() {
    let config = Kubeconfig::parse(
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://c'}}]\nusers: [{name: u, user: {token: t, username: x, password: y}}]".as_bytes(),
        None,
    )
    .unwrap();
    let error = SelectedContext::select(&config, &ConnectionOptions::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "error: more than one authentication method found for u; found [token basicAuth], only one is allowed"
    );
}

#[test]
fn rejects_a_token_with_basic_authentication_flags() {
    let config = Kubeconfig::parse(
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://c'}}]\nusers: [{name: u, user: {token: t}}]".as_bytes(),
        None,
    )
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (username, password, token) in
        [(text("x"), None, None), (None, text("y"), None), (text("x"), text("y"), text("z"))]
    {
        let flags = ConnectionOptions { token, username, password, ..ConnectionOptions::default() };
        let error = SelectedContext::select(&config, &flags).err().unwrap();
        assert_eq!(
            error.to_string(),
            "error: more than one authentication method found for u; found [token basicAuth], only one is allowed"
        );
    }
}

#[test]
fn requires_a_current_context_or_a_server() {
    let empty = Kubeconfig::default();
    let error =
        SelectedContext::select(&empty, &ConnectionOptions::default()).err().unwrap().to_string();
    assert!(error.contains("no current context"), "{error}");
    let flags =
        ConnectionOptions { server: Some("http://x:8080".into()), ..ConnectionOptions::default() };
    let selected = SelectedContext::select(&empty, &flags).ok().unwrap();
    assert_eq!(selected.cluster.server.as_deref(), Some("http://x:8080"));
}

#[test]
fn merges_files_and_skips_missing_ones() {
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
    let files = KubeconfigFiles::new(None, Some(&variable), None);
    let merged = files.read(|_| ()).unwrap().unwrap();
    assert_eq!(merged.current_context.as_deref(), Some("a"));
    assert_eq!(merged.clusters.len(), 5);

    let explicit = KubeconfigFiles::new(Some(&first), Some(&variable), None);
    assert_eq!(explicit, KubeconfigFiles::Explicit(first));
    let missing = KubeconfigFiles::Explicit(folder.path().join("none"))
        .read(|_| ())
        .err()
        .unwrap()
        .to_string();
    assert!(missing.starts_with("error: there is no kubeconfig "), "{missing}");
    let home = KubeconfigFiles::new(None, Some("".as_ref()), Some("/home/x".into()));
    let expected = Path::new("/home/x").join(".kube").join("config");
    assert_eq!(home.display(), expected.display().to_string());
    assert!(KubeconfigFiles::new(None, None, None).read(|_| ()).unwrap().is_none());
}

#[test]
fn read_errors_are_a_single_line() {
    let folder = tempfile::tempdir().unwrap();
    for (n, content) in
        [&b"a: [unclosed\n  b: c"[..], b"\xff\xfe\xff", b"- 1", b"\x00"].iter().enumerate()
    {
        let path = folder.path().join(n.to_string());
        fs::write(&path, content).unwrap();
        let error = KubeconfigFiles::Explicit(path).read(|_| ()).err().unwrap().to_string();
        assert!(error.starts_with("error: error loading config file \""), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error =
        KubeconfigFiles::Explicit(folder.path().into()).read(|_| ()).err().unwrap().to_string();
    // Windows reports that access is denied.
    let expected = if cfg!(windows) { "os error 5" } else { "directory" };
    assert!(error.contains(expected), "{error}");
}
