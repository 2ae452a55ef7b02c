use http::HeaderMap;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::*;

/// A CA that issues client certificates.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    pub(crate) fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> PeerCertificates {
        self.issue_until(name, usage, 4096)
    }

    fn issue_until(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        year: i32,
    ) -> PeerCertificates {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Arc::new([certificate.der().clone()])
    }

    /// Returns the data of a ConfigMap that names this CA as the front proxy's.
    pub(crate) fn config_map(&self, names: &str) -> BTreeMap<String, String> {
        [
            ("requestheader-client-ca-file", self.pem.as_str()),
            ("requestheader-allowed-names", names),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

impl FrontProxy {
    pub(crate) fn with_authority(authority: &Authority) -> Self {
        let proxy = Self::default();
        proxy.set(&authority.config_map(r#"["front-proxy-client"]"#));
        proxy
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", "alice".parse().unwrap());
    headers.append("x-remote-group", "a,b".parse().unwrap());
    headers.append("x-remote-group", "c".parse().unwrap());
    headers
}

#[test]
fn authenticates_front_proxy_only() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (authority, other) = (Authority::new(), Authority::new());
    let proxy = FrontProxy::with_authority(&authority);
    let name = "front-proxy-client";
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.into()]).unwrap();
        Arc::new([params.self_signed(&key).unwrap().der().clone()])
    };
    let garbage: PeerCertificates = Arc::new([CertificateDer::from(vec![0x30, 1, 2])]);
    let cases = [
        ("the front proxy", Some(authority.issue(name, ClientAuth)), true),
        ("no certificate", None, false),
        ("an empty chain", Some(Arc::new([]) as PeerCertificates), false),
        ("another name", Some(authority.issue("other-client", ClientAuth)), false),
        ("no name", Some(authority.issue("", ClientAuth)), false),
        ("a server's certificate", Some(authority.issue(name, ServerAuth)), false),
        ("another CA", Some(other.issue(name, ClientAuth)), false),
        ("expired", Some(authority.issue_until(name, ClientAuth, 2001)), false),
        ("self-signed", Some(self_signed), false),
        ("garbage", Some(garbage), false),
    ];
    for (name, peer, is_authenticated) in cases {
        let requester = proxy.authenticate(peer.as_ref(), &headers());
        assert_eq!(requester.is_some(), is_authenticated, "{name}");
        if let Some(requester) = requester {
            assert_eq!(requester.username, "alice");
            assert_eq!(requester.groups, ["a,b", "c"]);
        }
    }
    let peer = authority.issue(name, ClientAuth);
    assert!(proxy.authenticate(Some(&peer), &HeaderMap::new()).is_none());
}

#[test]
fn applies_changes_of_config_map_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let (old_peer, new_peer) =
        (old.issue("front-proxy-client", usage.clone()), new.issue("another", usage));
    let proxy = FrontProxy::default();
    let authenticated =
        || [&old_peer, &new_peer].map(|peer| proxy.authenticate(Some(peer), &headers()).is_some());
    assert_eq!(authenticated(), [false, false]);
    proxy.set(&old.config_map(r#"["front-proxy-client"]"#));
    assert_eq!(authenticated(), [true, false]);
    let mut both = new.config_map("[]");
    both.insert("requestheader-client-ca-file".into(), format!("{}{}", old.pem, new.pem));
    let mut changes = proxy.watch_changes();
    changes.mark_unchanged();
    proxy.set(&old.config_map(r#"["front-proxy-client"]"#));
    assert!(!changes.has_changed().unwrap(), "the same data again is no change");
    proxy.set(&both);
    assert!(changes.has_changed().unwrap());
    assert_eq!(authenticated(), [true, true], "without allowed names, any name is allowed");
    both.insert("requestheader-allowed-names".into(), r#"["another"]"#.into());
    proxy.set(&both);
    assert_eq!(authenticated(), [false, true]);
    for (key, value) in [
        ("requestheader-allowed-names", "another"),
        ("requestheader-client-ca-file", "no PEM"),
        ("requestheader-username-headers", "[]"),
    ] {
        let mut broken = both.clone();
        broken.insert(key.into(), value.into());
        proxy.set(&broken);
        assert_eq!(authenticated(), [false, false], "{key}");
    }
}
