//! TLS settings: verification of the server, and the client certificate.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as Tls, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use rustls_platform_verifier::Verifier;
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    time::ASN1Time,
};

use crate::{
    error::Error,
    server::{
        credentials::{Identity, decode_base64},
        kubeconfig::Cluster,
    },
};

/// How the certificate of a server is verified.
#[derive(Clone)]
pub(in crate::server) enum ServerVerification {
    /// By the authorities that the machine trusts.
    System,
    /// By these certificates.
    Certificates(Vec<CertificateDer<'static>>),
    /// Not at all.
    Skip,
}

/// Returns the certificate authorities of a cluster in PEM, if it names any.
///
/// # Errors
/// Fails if the certificates cannot be read.
pub(in crate::server) fn load_authority(cluster: &Cluster) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = &cluster.certificate_authority_data {
        return decode_base64(data).map(Some).ok_or_else(|| {
            Error::setup("certificate-authority-data of the kubeconfig is not valid base64")
        });
    }
    let read = |path: &String| {
        std::fs::read(path).map_err(|error| {
            Error::setup(format!("certificate-authority {path} cannot be read: {error}"))
        })
    };
    cluster.certificate_authority.as_ref().map(read).transpose()
}

impl ServerVerification {
    /// Selects the verification of a cluster's server.
    ///
    /// # Errors
    /// Fails if the authority contains no certificate.
    pub(in crate::server) fn new(
        cluster: &Cluster,
        authority: Option<&[u8]>,
    ) -> Result<Self, Error> {
        if cluster.insecure_skip_tls_verify {
            return Ok(Self::Skip);
        }
        let Some(pem) = authority else {
            return Ok(Self::System);
        };
        // As in Go, sections that are no certificates are skipped.
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
        let is_usable = |der: &CertificateDer<'_>| X509Certificate::from_der(der).is_ok();
        if !certificates.iter().any(is_usable) {
            return Err(Error::setup(
                "the certificate authority of the kubeconfig contains no certificate in PEM: check certificate-authority and certificate-authority-data",
            ));
        }
        Ok(Self::Certificates(certificates))
    }

    /// Returns the TLS settings with a client certificate, if there is one.
    ///
    /// # Errors
    /// Fails if the machine has no authorities, or if the client certificate is unusable.
    pub(super) fn client_config(&self, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |_| Error::setup("TLS cannot be set up on this machine");
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let Some(identity) = identity else {
            return Ok(builder.with_no_client_auth());
        };
        let (chain, key) = identity.to_parts();
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let reason = match error {
                Tls::InconsistentKeys(_) => {
                    "the client certificate and its key do not belong together"
                }
                _ => "the client certificate or its key is of a kind that is not supported",
            };
            Error::credentials(format!("{reason}: check client-certificate and client-key"))
        })
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        match self {
            Self::Skip => Ok(Arc::new(NoVerification(Arc::clone(provider)))),
            Self::System => Ok(Arc::new(Verifier::new(Arc::clone(provider)).map_err(|_| {
                Error::setup(
                    "this machine has no certificate authorities, and the kubeconfig names none: set certificate-authority in the kubeconfig",
                )
            })?)),
            Self::Certificates(certificates) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates.iter().cloned());
                let verifier = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(provider),
                );
                let verifier = verifier.build().map_err(|_| {
                    Error::setup(
                        "the certificate authority of the kubeconfig cannot be used: check certificate-authority and certificate-authority-data",
                    )
                })?;
                Ok(Arc::new(RootsVerifier { verifier, roots: certificates.clone() }))
            }
        }
    }
}

/// Verifier that also accepts a server whose own certificate is among the roots, as Go does.
#[derive(Debug)]
struct RootsVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for RootsVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Tls> {
        if self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            verify_trusted(end_entity, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Verifies validity, purpose and name of a certificate that is trusted itself.
fn verify_trusted(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Tls> {
    let invalid = Tls::InvalidCertificate;
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| invalid(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
    let now = now.ok_or_else(|| invalid(CertificateError::BadEncoding))?;
    if now > parsed.validity().not_after {
        return Err(invalid(CertificateError::Expired));
    }
    if now < parsed.validity().not_before {
        return Err(invalid(CertificateError::NotValidYet));
    }
    let usage = parsed.extended_key_usage().map_err(|_| invalid(CertificateError::BadEncoding))?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(invalid(CertificateError::InvalidPurpose));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)
}

/// Verifier that accepts every certificate, for `insecure-skip-tls-verify`.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Tls> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
