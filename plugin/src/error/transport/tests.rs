use rustls::InvalidMessage;

use super::*;

/// An error as hyper-util wraps that of a connector.
#[derive(Debug, thiserror::Error)]
#[error("client error (Connect)")]
struct Wrapped(#[source] Box<dyn StdError + Send + Sync>);

fn tls(error: Tls) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[test]
fn finds_causes_behind_every_wrapper() {
    let cases = [
        (io::ErrorKind::ConnectionRefused.into(), Cause::Refused),
        (io::ErrorKind::TimedOut.into(), Cause::NoAnswer),
        (tls(Tls::InvalidCertificate(CertificateError::UnknownIssuer)), Cause::UnknownAuthority),
        (tls(Tls::InvalidCertificate(CertificateError::BadSignature)), Cause::UnknownAuthority),
        (
            tls(Tls::InvalidCertificate(CertificateError::Expired)),
            Cause::ServerCertificate(
                "it has expired, or the clock of this machine is wrong".into(),
            ),
        ),
        (
            tls(Tls::AlertReceived(Alert::CertificateExpired)),
            Cause::ClientCertificate("it has expired"),
        ),
        (tls(Tls::InvalidMessage(InvalidMessage::InvalidContentType)), Cause::NotTls),
        (tls(Tls::AlertReceived(Alert::ProtocolVersion)), Cause::Handshake),
        (io::Error::other("no such host"), Cause::Other("no such host".into())),
        (
            io::Error::other(Wrapped(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)))),
            Cause::Refused,
        ),
    ];
    for (error, expected) in cases {
        let wrapped = Wrapped(Box::new(Wrapped(Box::new(error))));
        assert_eq!(Cause::from_error(&wrapped), expected);
    }
}

#[test]
fn uses_kubectls_words_for_an_unreachable_server() {
    let transport = Transport { host: "127.0.0.1:1".into(), proxy: None, cause: Cause::Refused };
    assert_eq!(
        transport.to_string(),
        "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
    );
}

#[test]
fn names_the_proxy_that_failed() {
    let failure = |source: Box<dyn StdError + Send + Sync>| {
        let error = Wrapped(Box::new(ProxyFailure::new("http://proxy:3128", source)));
        Transport::from_error("k8s:6443", &error).to_string()
    };
    let io = |kind: io::ErrorKind| Box::new(Wrapped(Box::new(io::Error::from(kind))));
    let text = |text: &str| text.to_owned().into();
    let cases = [
        (failure(io(io::ErrorKind::ConnectionRefused)), "refused the connection"),
        (failure(io(io::ErrorKind::TimedOut)), "did not answer"),
        (
            failure(text("tunnel error: proxy authorization required")),
            "asks for a user name and a password",
        ),
        (failure(text("tunnel error: unsuccessful")), "does not connect to k8s:6443"),
        (failure(text("SOCKS error: host not allowed")), "does not connect to k8s:6443"),
        (
            failure(Box::new(Wrapped(text("dns error")))),
            "has a name that cannot be resolved (no such host)",
        ),
    ];
    for (shown, expected) in cases {
        assert_eq!(
            shown,
            format!(
                "Unable to connect to the server: the proxy http://proxy:3128 {expected}: check proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY"
            )
        );
    }
}

#[test]
fn describes_certificates_in_plain_words() {
    let shown = |error: CertificateError| {
        Transport::from_error("k8s:6443", &Tls::InvalidCertificate(error)).to_string()
    };
    let name = shown(CertificateError::NotValidForNameContext {
        expected: rustls::pki_types::ServerName::try_from("k8s").unwrap(),
        presented: vec!["DnsName(\"localhost\")".into(), "IpAddress(10.0.0.1)".into()],
    });
    assert_eq!(
        name,
        "Unable to connect to the server: the certificate of k8s:6443 is not valid (it is for localhost, 10.0.0.1): check the server in the kubeconfig, or set tls-server-name"
    );
    for error in [
        CertificateError::Expired,
        CertificateError::NotValidYet,
        CertificateError::Revoked,
        CertificateError::BadEncoding,
        CertificateError::InvalidPurpose,
        CertificateError::NotValidForName,
        CertificateError::UnhandledCriticalExtension,
    ] {
        let jargon = format!("{error:?}");
        let shown = shown(error);
        assert!(shown.contains("is not valid (it ") || shown.contains("(its "), "{shown}");
        assert!(!shown.contains(&jargon), "{shown}");
    }
}
