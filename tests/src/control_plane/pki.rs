//! Certificate authorities of the control plane, one for each purpose.
//!
//! The CAs must differ. If the front proxy's CA also signed client certificates, the holder of any
//! client certificate could impersonate the front proxy, and through it any user.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::certificate;
use super::error::Error;
use super::kubeconfig::Identity;

const CLIENT_CA: &str = "mirrord-sessions local client CA";

/// Common name that the API server accepts for a front proxy.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// Subject alternative names of the API server.
const SERVER_NAMES: [&str; 7] = [
    "127.0.0.1",
    "::1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Keys and certificates of the control plane, stored as files for the servers.
#[derive(Debug)]
pub(crate) struct Pki {
    folder: PathBuf,
    client_ca: KeyPair,
    serving_ca: String,
}

impl Pki {
    /// Generates all keys and certificates and writes the servers' files to `folder`.
    pub(crate) fn create(folder: PathBuf) -> Result<Self, Error> {
        fs::create_dir(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let client_ca = Authority::new(CLIENT_CA)?;
        let serving_ca = Authority::new("mirrord-sessions local serving CA")?;
        let proxy_ca = Authority::new("mirrord-sessions local front-proxy CA")?;

        let (serving, serving_key) = serving_ca.sign(
            "kube-apiserver",
            &SERVER_NAMES,
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let (proxy, proxy_key) =
            proxy_ca.sign(FRONT_PROXY, &[], ExtendedKeyUsagePurpose::ClientAuth)?;
        let tokens = KeyPair::generate()?;

        for (name, text) in [
            ("client-ca.crt", client_ca.certificate.pem()),
            ("client-ca.key", client_ca.key.serialize_pem()),
            ("serving-ca.crt", serving_ca.certificate.pem()),
            ("apiserver.crt", serving.pem()),
            ("apiserver.key", serving_key.serialize_pem()),
            ("front-proxy-ca.crt", proxy_ca.certificate.pem()),
            ("front-proxy.crt", proxy.pem()),
            ("front-proxy.key", proxy_key.serialize_pem()),
            ("service-account.key", tokens.serialize_pem()),
            ("service-account.pub", tokens.public_key_pem()),
        ] {
            write(&folder.join(name), &text)?;
        }
        Ok(Self { folder, client_ca: client_ca.key, serving_ca: serving_ca.certificate.pem() })
    }

    /// Returns the CA certificate of the API server, as PEM.
    pub(crate) fn serving_ca(&self) -> &str {
        &self.serving_ca
    }

    /// Issues a client certificate for `identity` and returns it with its key, as PEM.
    pub(crate) fn issue_client_certificate(
        &self,
        identity: &Identity,
    ) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let certificate =
            certificate::sign_client_certificate(identity, &key, CLIENT_CA, &self.client_ca)?;
        Ok((certificate, key.serialize_pem()))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

struct Authority {
    certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = certificate_params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, params, key })
    }

    fn sign(
        &self,
        name: &str,
        alternative_names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(Certificate, KeyPair), Error> {
        let key = KeyPair::generate()?;
        let mut params = certificate_params(name, alternative_names)?;
        params.extended_key_usages = vec![usage];
        let issuer = Issuer::from_params(&self.params, &self.key);
        Ok((params.signed_by(&key, &issuer)?, key))
    }
}

fn certificate_params(name: &str, alternative_names: &[&str]) -> Result<CertificateParams, Error> {
    let alternative_names: Vec<_> = alternative_names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}
