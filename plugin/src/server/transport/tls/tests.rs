use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::*;

fn params(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params.extended_key_usages = vec![usage];
    params
}

fn verify(
    roots: &[&CertificateDer<'static>],
    certificate: &CertificateDer<'static>,
    name: &str,
    now: u64,
) -> Result<(), Tls> {
    let roots = roots.iter().map(|root| (*root).clone()).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = ServerVerification::Certificates(roots).verifier(&provider).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(certificate, &[], &name, &[], now).map(|_| ())
}

#[test]
fn accepts_the_certificate_of_the_server_as_its_authority() {
    use CertificateError as Certificate;
    const BEFORE: u64 = 1_700_000_000;
    const NOW: u64 = 1_780_000_000;
    const AFTER: u64 = 1_900_000_000;
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &authority).unwrap().der().clone()
    };
    let server = signed(params("k8s", ExtendedKeyUsagePurpose::ServerAuth));
    let other = signed(params("k8s", ExtendedKeyUsagePurpose::ServerAuth));
    let client = signed(params("k8s", ExtendedKeyUsagePurpose::ClientAuth));
    let mut own = params("k8s", ExtendedKeyUsagePurpose::ServerAuth);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = own.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    let authority = authority.der().clone();
    // (case, roots, certificate, name, time, error)
    let cases = [
        ("signed by the authority", vec![&authority], &server, "k8s", NOW, None),
        ("own certificate", vec![&server], &server, "k8s", NOW, None),
        ("own certificate among others", vec![&other, &server], &server, "k8s", NOW, None),
        ("self-signed authority as server", vec![&own], &own, "k8s", NOW, None),
        (
            "another certificate with the name of the issuer",
            vec![&other],
            &server,
            "k8s",
            NOW,
            Some(Certificate::BadSignature),
        ),
        ("expired", vec![&server], &server, "k8s", AFTER, Some(Certificate::Expired)),
        ("not valid yet", vec![&server], &server, "k8s", BEFORE, Some(Certificate::NotValidYet)),
        ("of a client", vec![&client], &client, "k8s", NOW, Some(Certificate::InvalidPurpose)),
    ];
    for (case, roots, certificate, name, now, error) in cases {
        let expected = error.map_or(Ok(()), |error| Err(Tls::InvalidCertificate(error)));
        assert_eq!(verify(&roots, certificate, name, now), expected, "{case}");
    }
    let found = verify(&[&server], &server, "other", NOW);
    assert!(
        matches!(found, Err(Tls::InvalidCertificate(Certificate::NotValidForNameContext { .. }))),
        "{found:?}"
    );
}
