use super::*;

#[test]
fn parses_addresses_as_client_go() {
    // (server, has TLS settings, URL and host)
    let cases = [
        ("https://k8s:6443", false, Some(("https://k8s:6443/", "k8s:6443"))),
        ("https://k8s:6443/", false, Some(("https://k8s:6443/", "k8s:6443"))),
        ("https://k8s/k8s/clusters/c-1/", false, Some(("https://k8s/k8s/clusters/c-1/", "k8s"))),
        ("https://k8s/path?x=y#z", false, Some(("https://k8s/path", "k8s"))),
        ("HTTPS://K8S:6443", false, Some(("https://K8S:6443/", "K8S:6443"))),
        ("https://user:secret@k8s:6443", false, Some(("https://k8s:6443/", "k8s:6443"))),
        ("k8s:6443", true, Some(("https://k8s:6443/", "k8s:6443"))),
        ("k8s:8080", false, Some(("http://k8s:8080/", "k8s:8080"))),
        ("k8s", true, Some(("https://k8s/", "k8s"))),
        ("127.0.0.1:6443/", true, Some(("https://127.0.0.1:6443/", "127.0.0.1:6443"))),
        ("https://[::1]:6443", false, Some(("https://[::1]:6443/", "[::1]:6443"))),
        ("k8s:6443/path", true, None),
        ("ftp://x", false, None),
        ("https://", false, None),
        ("not a server", false, None),
        ("", false, None),
    ];
    for (server, has_tls_settings, expected) in cases {
        let found = Address::parse(server, has_tls_settings).ok();
        let found = found.map(|address| (address.url.to_string(), address.host));
        let expected = expected.map(|(url, host)| (url.to_owned(), host.to_owned()));
        assert_eq!(found, expected, "{server}");
    }
}

#[test]
fn joins_the_path_of_the_server() {
    for (base, path, expected) in [
        ("https://k8s", "/apis?x=y", "https://k8s/apis?x=y"),
        ("https://k8s/", "/apis", "https://k8s/apis"),
        ("https://k8s/a/b/", "/apis?x=%2F", "https://k8s/a/b/apis?x=%2F"),
        ("https://k8s/a/b", "/apis", "https://k8s/a/b/apis"),
    ] {
        let joined = join(&base.parse().unwrap(), &path.parse().unwrap());
        assert_eq!(joined.to_string(), expected, "{base}");
    }
}

#[test]
fn finds_servers_of_this_machine() {
    for (server, expected) in [
        ("http://localhost:8080", true),
        ("http://127.0.0.2:8080", true),
        ("http://[::1]:8080", true),
        ("http://k8s:8080", false),
        ("http://10.0.0.1", false),
    ] {
        assert_eq!(Address::parse(server, false).unwrap().is_loopback(), expected, "{server}");
    }
}
