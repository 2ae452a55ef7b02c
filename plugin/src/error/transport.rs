//! Connection errors in kubectl's words, with a remedy.

use std::{error::Error as StdError, fmt, io};

use rustls::{AlertDescription as Alert, CertificateError, Error as Tls};

/// The cause of an unreachable server or a failed connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Transport {
    host: String,
    cause: Cause,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    /// The connection was refused.
    Refused,
    /// The server did not answer.
    NoAnswer,
    /// The server's certificate is signed by an unknown authority.
    UnknownAuthority,
    /// The server's certificate is invalid, as described by the TLS library.
    ServerCertificate(String),
    /// The server rejected or misses a client certificate.
    ClientCertificate(String),
    /// The server does not speak TLS.
    NotTls,
    /// Any other error, with the text of its source.
    Other(String),
}

impl Transport {
    /// Finds the cause in a chain of errors.
    #[must_use]
    pub fn from_error(host: &str, error: &(dyn StdError + 'static)) -> Self {
        Self { host: host.to_owned(), cause: Cause::from_error(error) }
    }
}

impl StdError for Transport {}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if self.cause == Cause::Refused {
            return write!(
                f,
                "The connection to the server {host} was refused - did you specify the right host or port?"
            );
        }
        write!(f, "Unable to connect to the server: ")?;
        match &self.cause {
            Cause::Refused => Ok(()),
            Cause::NoAnswer => write!(
                f,
                "{host} did not answer: is the cluster up, and are you in its network (VPN)?"
            ),
            Cause::UnknownAuthority => write!(
                f,
                "the certificate of {host} is signed by an unknown authority: check certificate-authority in the kubeconfig, or whether the cluster was made again"
            ),
            Cause::ServerCertificate(what) => write!(
                f,
                "the certificate of {host} is not valid ({what}): check the server in the kubeconfig, or ask an administrator of the cluster"
            ),
            Cause::ClientCertificate(what) => write!(
                f,
                "{host} refused the client certificate ({what}): it may have expired; get a new one from your administrator, or choose others with --context or --user"
            ),
            Cause::NotTls => write!(
                f,
                "{host} does not speak TLS: should the server in the kubeconfig begin with http://?"
            ),
            Cause::Other(what) => write!(f, "{host}: {what}"),
        }
    }
}

impl Cause {
    fn from_error(error: &(dyn StdError + 'static)) -> Self {
        let mut deepest = error;
        let mut next = Some(error);
        while let Some(error) = next {
            deepest = error;
            if let Some(tls) = error.downcast_ref::<Tls>() {
                return Self::of_tls(tls);
            }
            next = match error.downcast_ref::<io::Error>() {
                Some(error) => match error.kind() {
                    io::ErrorKind::ConnectionRefused => return Self::Refused,
                    io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable => return Self::NoAnswer,
                    // io::Error::source() skips the error that it wraps.
                    _ => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
                },
                None => error.source(),
            };
        }
        Self::Other(deepest.to_string())
    }

    fn of_tls(error: &Tls) -> Self {
        match error {
            Tls::InvalidCertificate(CertificateError::UnknownIssuer) => Self::UnknownAuthority,
            Tls::InvalidCertificate(what) => Self::ServerCertificate(what.to_string()),
            Tls::AlertReceived(
                alert @ (Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate),
            ) => Self::ClientCertificate(format!("{alert:?}")),
            Tls::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
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
            (
                tls(Tls::InvalidCertificate(CertificateError::UnknownIssuer)),
                Cause::UnknownAuthority,
            ),
            (
                tls(Tls::InvalidCertificate(CertificateError::Expired)),
                Cause::ServerCertificate(CertificateError::Expired.to_string()),
            ),
            (
                tls(Tls::AlertReceived(Alert::CertificateExpired)),
                Cause::ClientCertificate("CertificateExpired".into()),
            ),
            (tls(Tls::InvalidMessage(InvalidMessage::InvalidContentType)), Cause::NotTls),
            (
                tls(Tls::AlertReceived(Alert::ProtocolVersion)),
                Cause::Other(Tls::AlertReceived(Alert::ProtocolVersion).to_string()),
            ),
            (io::Error::other("no such host"), Cause::Other("no such host".into())),
            (
                io::Error::other(Wrapped(Box::new(io::Error::from(
                    io::ErrorKind::ConnectionRefused,
                )))),
                Cause::Refused,
            ),
        ];
        for (error, expected) in cases {
            let wrapped = kube::Error::Service(Box::new(Wrapped(Box::new(error))));
            assert_eq!(Cause::from_error(&wrapped), expected);
        }
    }

    #[test]
    fn uses_kubectls_words_for_an_unreachable_server() {
        let transport = Transport { host: "127.0.0.1:1".into(), cause: Cause::Refused };
        assert_eq!(
            transport.to_string(),
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
        );
    }
}
