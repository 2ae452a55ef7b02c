//! Client certificates with their keys.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{error::Error, server::kubeconfig::User};

/// Client certificate with its chain and its key.
#[derive(Eq, PartialEq)]
pub(in crate::server) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Parses certificates and key in PEM. Other sections, as `EC PARAMETERS`, are skipped.
    ///
    /// # Errors
    /// Returns the reason, which names the field of the kubeconfig or of a plugin's answer.
    pub(super) fn parse(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or("the client certificate is not a certificate in PEM")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "the key of the client certificate is not an unencrypted key in PEM")?;
        Ok(Self { chain, key: Arc::new(key) })
    }

    /// Returns the chain and the key for the TLS library.
    pub(in crate::server) fn to_parts(
        &self,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

/// Certificate and key of a kubeconfig's user, as files or as data.
pub(super) struct IdentityFiles {
    certificate: Pem,
    key: Pem,
}

/// PEM in a file, or in base64.
enum Pem {
    File(String),
    Data(String),
}

impl IdentityFiles {
    pub(super) fn from_user(user: &User) -> Option<Self> {
        let pem = |file: &Option<String>, data: &Option<String>| match (data, file) {
            (Some(data), _) => Some(Pem::Data(data.clone())),
            (None, Some(file)) => Some(Pem::File(file.clone())),
            (None, None) => None,
        };
        Some(Self {
            certificate: pem(&user.client_certificate, &user.client_certificate_data)?,
            key: pem(&user.client_key, &user.client_key_data)?,
        })
    }

    /// Reads certificate and key.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or has another content.
    pub(super) fn read(&self) -> Result<Identity, Error> {
        let certificate = self.certificate.read("client-certificate")?;
        let key = self.key.read("client-key")?;
        Identity::parse(&certificate, &key).map_err(|reason| {
            Error::credentials(format!("{reason}: check client-certificate and client-key"))
        })
    }
}

impl Pem {
    fn read(&self, field: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|error| {
                Error::credentials(format!("{field} {path} cannot be read: {error}"))
            }),
            Self::Data(data) => decode_base64(data).ok_or_else(|| {
                Error::credentials(format!("{field}-data of the kubeconfig is not valid base64"))
            }),
        }
    }
}

/// Decodes base64. Line breaks, which block texts of YAML have, are ignored as in Go.
pub(in crate::server) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.split_whitespace().collect();
    STANDARD.decode(compact).ok()
}
