//! Connection errors in kubectl's words, with a remedy.

use std::{error::Error as StdError, fmt, io};

use rustls::{AlertDescription as Alert, CertificateError, Error as Tls};

/// The cause of an unreachable server or a failed connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Transport {
    host: String,
    /// The proxy that failed, if the server itself was not reached.
    proxy: Option<String>,
    cause: Cause,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    /// The connection was refused.
    Refused,
    /// The server did not answer.
    NoAnswer,
    /// The name of the server cannot be resolved.
    UnknownHost,
    /// The connection ended before the response.
    Closed,
    /// The server does not speak HTTP.
    NotHttp,
    /// The server's certificate is signed by an unknown authority.
    UnknownAuthority,
    /// The server's certificate is invalid, with the reason.
    ServerCertificate(String),
    /// The server's certificate is for other names.
    OtherName(String),
    /// The server rejected or misses a client certificate.
    ClientCertificate(&'static str),
    /// The server does not speak TLS.
    NotTls,
    /// No common TLS settings.
    Handshake,
    /// The proxy asks for a user name and a password, or rejects them.
    ProxyCredentials,
    /// The proxy does not connect to the server.
    ProxyDenied,
    /// Any other error, with the text of its source.
    Other(String),
}

/// An error on the way through a proxy, before the server is reached.
#[derive(Debug)]
pub(crate) struct ProxyFailure {
    proxy: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl ProxyFailure {
    /// Attributes an error to a proxy.
    pub(crate) fn new(proxy: &str, source: Box<dyn StdError + Send + Sync>) -> Self {
        Self { proxy: proxy.to_owned(), source }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} failed", self.proxy)
    }
}

impl StdError for ProxyFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl Transport {
    /// Finds the cause in a chain of errors.
    #[must_use]
    pub fn from_error(host: &str, error: &(dyn StdError + 'static)) -> Self {
        let host = host.to_owned();
        let failure = chain(error).find_map(|error| error.downcast_ref::<ProxyFailure>());
        match failure {
            Some(ProxyFailure { proxy, source }) => {
                Self { host, proxy: Some(proxy.clone()), cause: Cause::from_proxy(&**source) }
            }
            None => Self { host, proxy: None, cause: Cause::from_error(error) },
        }
    }
}

impl StdError for Transport {}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if let Some(proxy) = &self.proxy {
            return self.describe_proxy(f, proxy);
        }
        if self.cause == Cause::Refused {
            return write!(
                f,
                "The connection to the server {host} was refused - did you specify the right host or port?"
            );
        }
        write!(f, "Unable to connect to the server: ")?;
        match &self.cause {
            Cause::Refused | Cause::ProxyCredentials | Cause::ProxyDenied => {
                write!(f, "{host} refused the connection")
            }
            Cause::NoAnswer => write!(
                f,
                "{host} did not answer: is the cluster up, and are you in its network (VPN)?"
            ),
            Cause::UnknownHost => write!(
                f,
                "the name of {host} cannot be resolved (no such host): check the server in the kubeconfig, or whether you are in its network (VPN)"
            ),
            Cause::Closed => {
                write!(f, "{host} closed the connection before it answered: try again later")
            }
            Cause::NotHttp => write!(
                f,
                "{host} does not answer as a Kubernetes API server does: check the server in the kubeconfig"
            ),
            Cause::UnknownAuthority => write!(
                f,
                "the certificate of {host} is signed by an unknown authority: check certificate-authority in the kubeconfig, or whether the cluster was made again"
            ),
            Cause::ServerCertificate(what) => write!(
                f,
                "the certificate of {host} is not valid ({what}): check the server in the kubeconfig, or ask an administrator of the cluster"
            ),
            Cause::OtherName(what) => write!(
                f,
                "the certificate of {host} is not valid ({what}): check the server in the kubeconfig, or set tls-server-name"
            ),
            Cause::ClientCertificate(what) => write!(
                f,
                "{host} refused the client certificate ({what}): it may have expired; get a new one from your administrator, or choose others with --context or --user"
            ),
            Cause::NotTls => write!(
                f,
                "{host} does not speak TLS: should the server in the kubeconfig begin with http://?"
            ),
            Cause::Handshake => write!(
                f,
                "{host} has no TLS version or cipher in common with this program: is it a Kubernetes API server?"
            ),
            Cause::Other(what) => write!(f, "{host}: {what}"),
        }
    }
}

impl Transport {
    fn describe_proxy(&self, f: &mut fmt::Formatter<'_>, proxy: &str) -> fmt::Result {
        write!(f, "Unable to connect to the server: the proxy {proxy} ")?;
        match &self.cause {
            Cause::Refused => write!(f, "refused the connection")?,
            Cause::NoAnswer => write!(f, "did not answer")?,
            Cause::UnknownHost => write!(f, "has a name that cannot be resolved (no such host)")?,
            Cause::ProxyCredentials => write!(f, "asks for a user name and a password")?,
            Cause::ProxyDenied => write!(f, "does not connect to {}", self.host)?,
            Cause::Closed => write!(f, "closed the connection")?,
            Cause::NotTls => write!(f, "does not speak TLS")?,
            Cause::NotHttp | Cause::Handshake => write!(f, "does not answer as a proxy does")?,
            Cause::UnknownAuthority => {
                write!(f, "has a certificate that is signed by an unknown authority")?;
            }
            Cause::ServerCertificate(what) | Cause::OtherName(what) => {
                write!(f, "has a certificate that is not valid ({what})")?;
            }
            Cause::ClientCertificate(what) => write!(f, "refused the connection ({what})")?,
            Cause::Other(what) => write!(f, "failed ({what})")?,
        }
        write!(f, ": check proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY")
    }
}

/// Returns the error and its sources.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| match (*error).downcast_ref::<io::Error>() {
        // io::Error::source() skips the error that it wraps.
        Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => (*error).source(),
    })
}

impl Cause {
    fn from_error(error: &(dyn StdError + 'static)) -> Self {
        let cause = chain(error).find_map(Self::from_link);
        cause.unwrap_or_else(|| {
            Self::Other(chain(error).last().map(ToString::to_string).unwrap_or_default())
        })
    }

    /// Finds the cause of a failure of a proxy. The connector's errors have no public type.
    fn from_proxy(error: &(dyn StdError + 'static)) -> Self {
        let denied = |error: &(dyn StdError + 'static)| {
            let text = error.to_string();
            match text.strip_prefix("tunnel error: ").or_else(|| text.strip_prefix("SOCKS error: "))
            {
                Some("proxy authorization required") => Some(Self::ProxyCredentials),
                Some(text) if text.contains("authentication") => Some(Self::ProxyCredentials),
                Some("unexpected end of file") => Some(Self::Closed),
                Some("proxy response headers too long" | "failed parsing server response") => {
                    Some(Self::NotHttp)
                }
                Some(text) if !text.contains("io error") && !text.contains("failed to create") => {
                    Some(Self::ProxyDenied)
                }
                _ => None,
            }
        };
        chain(error).find_map(denied).unwrap_or_else(|| Self::from_error(error))
    }

    /// Returns the cause, if this error of a chain shows it.
    fn from_link(error: &(dyn StdError + 'static)) -> Option<Self> {
        if let Some(tls) = error.downcast_ref::<Tls>() {
            return Some(Self::of_tls(tls));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_incomplete_message() {
                return Some(Self::Closed);
            }
            return error.is_parse().then_some(Self::NotHttp);
        }
        // The type of hyper-util's error is private.
        if error.to_string() == "dns error" {
            return Some(Self::UnknownHost);
        }
        match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Some(Self::NoAnswer),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(Self::Closed),
            _ => None,
        }
    }

    fn of_tls(error: &Tls) -> Self {
        match error {
            Tls::InvalidCertificate(error) => Self::of_certificate(error),
            Tls::AlertReceived(alert) => Self::of_alert(*alert),
            Tls::InvalidMessage(_) => Self::NotTls,
            _ => Self::Handshake,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as Certificate;
        let invalid = |reason: &str| Self::ServerCertificate(reason.to_owned());
        match error {
            // The authority of a cluster that was made again has the old name and another key.
            Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownAuthority,
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                invalid("it has expired, or the clock of this machine is wrong")
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                invalid("it is not valid yet, or the clock of this machine is wrong")
            }
            Certificate::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                Self::OtherName(format!("it is for {}", names(presented)))
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                Self::OtherName("it is for another name".to_owned())
            }
            Certificate::Revoked => invalid("it was revoked"),
            Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
                invalid("it is not a certificate for servers")
            }
            Certificate::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
                invalid("it is that of a certificate authority, and not that of a server")
            }
            _ => invalid("it cannot be verified"),
        }
    }

    fn of_alert(alert: Alert) -> Self {
        match alert {
            Alert::CertificateExpired => Self::ClientCertificate("it has expired"),
            Alert::CertificateRevoked => Self::ClientCertificate("it was revoked"),
            Alert::CertificateRequired => Self::ClientCertificate("one is required"),
            Alert::UnknownCA => Self::ClientCertificate("its authority is unknown to the server"),
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate => Self::ClientCertificate("the server rejects it"),
            _ => Self::Handshake,
        }
    }
}

/// Lists the names of a certificate, which the TLS library quotes as `DnsName("name")`.
fn names(presented: &[String]) -> String {
    const MAX_NAMES: usize = 10;
    let plain = |name: &String| match name.split_once('(') {
        Some((_, quoted)) => quoted.trim_matches(['(', ')', '"']).to_owned(),
        None => name.clone(),
    };
    let more = if presented.len() > MAX_NAMES { ", …" } else { "" };
    let shown: Vec<String> = presented.iter().take(MAX_NAMES).map(plain).collect();
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests;
