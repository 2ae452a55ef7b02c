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

    /// The ConfigMap of a cluster whose front proxies this CA knows.
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
    pub(crate) fn known_by(authority: &Authority) -> Self {
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
fn who_may_speak_for_others() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ours, theirs) = (Authority::new(), Authority::new());
    let proxy = FrontProxy::known_by(&ours);
    let name = "front-proxy-client";
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.into()]).unwrap();
        Arc::new([params.self_signed(&key).unwrap().der().clone()])
    };
    let garbage: PeerCertificates = Arc::new([CertificateDer::from(vec![0x30, 1, 2])]);
    let cases = [
        ("the front proxy", Some(ours.issue(name, ClientAuth)), true),
        ("no certificate", None, false),
        ("no certificate after all", Some(Arc::new([]) as PeerCertificates), false),
        ("another name", Some(ours.issue("somebody", ClientAuth)), false),
        ("no name", Some(ours.issue("", ClientAuth)), false),
        ("a server's certificate", Some(ours.issue(name, ServerAuth)), false),
        ("another CA", Some(theirs.issue(name, ClientAuth)), false),
        ("expired", Some(ours.issue_until(name, ClientAuth, 2001)), false),
        ("self-signed", Some(self_signed), false),
        ("garbage", Some(garbage), false),
    ];
    for (what, peer, believed) in cases {
        let requester = proxy.requester(peer.as_ref(), &headers());
        assert_eq!(requester.is_some(), believed, "{what}");
        if let Some(requester) = requester {
            assert_eq!(requester.username, "alice");
            assert_eq!(requester.groups, ["a,b", "c"]);
        }
    }
    let front = ours.issue(name, ClientAuth);
    assert!(proxy.requester(Some(&front), &HeaderMap::new()).is_none());
}

#[test]
fn a_change_of_the_config_map_counts_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let (of_old, of_new) =
        (old.issue("front-proxy-client", usage.clone()), new.issue("another", usage));
    let proxy = FrontProxy::default();
    let believed =
        || [&of_old, &of_new].map(|peer| proxy.requester(Some(peer), &headers()).is_some());
    assert_eq!(believed(), [false, false]);
    proxy.set(&old.config_map(r#"["front-proxy-client"]"#));
    assert_eq!(believed(), [true, false]);
    let mut both = new.config_map("[]");
    both.insert("requestheader-client-ca-file".into(), format!("{}{}", old.pem, new.pem));
    let mut changes = proxy.changes();
    changes.mark_unchanged();
    proxy.set(&old.config_map(r#"["front-proxy-client"]"#));
    assert!(!changes.has_changed().unwrap(), "the same, told again");
    proxy.set(&both);
    assert!(changes.has_changed().unwrap());
    assert_eq!(believed(), [true, true], "no names: any");
    both.insert("requestheader-allowed-names".into(), r#"["another"]"#.into());
    proxy.set(&both);
    assert_eq!(believed(), [false, true]);
    for (key, value) in [
        ("requestheader-allowed-names", "another"),
        ("requestheader-client-ca-file", "no PEM"),
        ("requestheader-username-headers", "[]"),
    ] {
        let mut broken = both.clone();
        broken.insert(key.into(), value.into());
        proxy.set(&broken);
        assert_eq!(believed(), [false, false], "{key}");
    }
}
