//! The self-signed certificate authority, as pure functions; `now` is an argument.
//!
//! All replicas share one CA through a Secret. Each replica issues its own serving certificate, in
//! memory. The bundle for the API server contains every CA that is still valid, so that a replica
//! that has not loaded a new CA yet stays trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Validity of a CA certificate.
const CA_VALIDITY: Duration = DAY.saturating_mul(3 * 365);
/// Remaining validity of a CA below which a new one is created.
const CA_RENEWAL: Duration = DAY.saturating_mul(365);
/// Validity of a serving certificate.
const SERVING_VALIDITY: Duration = DAY.saturating_mul(90);
/// Remaining validity of a serving certificate below which the next is issued.
const SERVING_RENEWAL: Duration = DAY.saturating_mul(30);
/// Certificates are valid from this long before their creation, because clocks differ.
const CLOCK_SKEW: Duration = HOUR;

/// The PEM data of the Secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct StoredAuthority {
    /// All trusted CA certificates, the issuing one first.
    pub(crate) bundle: String,
    /// The private key of the issuing CA.
    pub(crate) key: String,
}

/// A certificate authority that can issue certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    stored: StoredAuthority,
    issuer: Issuer<'static, KeyPair>,
}

/// The action on the stored authority.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Uses the stored authority.
    Use(Box<Authority>),
    /// Stores this authority, because the stored one is not usable for the given reason.
    Store(StoredAuthority, String),
}

/// A serving certificate with its key.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    not_after: SystemTime,
}

/// Describes why a certificate could not be created.
#[derive(Debug, thiserror::Error)]
#[error("a certificate could not be created: {0}")]
pub(crate) struct MakeError(#[from] rcgen::Error);

/// Decides whether the stored authority is usable, and creates another if it is not.
///
/// `in_use` is the bundle of this replica's serving certificate, if there is one. A new authority
/// keeps that bundle trusted, even if the stored data was lost.
pub(crate) fn plan(
    stored: &StoredAuthority,
    in_use: Option<&str>,
    now: SystemTime,
) -> Result<Plan, MakeError> {
    match issuer(stored, now) {
        Ok(issuer) => Ok(Plan::Use(Box::new(Authority { stored: stored.clone(), issuer }))),
        Err(reason) => {
            let trusted = [&stored.bundle, in_use.unwrap_or_default()];
            Ok(Plan::Store(create(&trusted.join("\n"), now)?, reason))
        }
    }
}

/// Returns the issuer of a stored authority, or the reason why the authority is not usable.
fn issuer(stored: &StoredAuthority, now: SystemTime) -> Result<Issuer<'static, KeyPair>, String> {
    if stored.bundle.is_empty() && stored.key.is_empty() {
        return Err("there is no certificate authority yet".into());
    }
    let first = certificates(&stored.bundle).into_iter().next();
    let first = first.ok_or("its bundle holds no certificate")?;
    let expiry = not_after(&first).ok_or("its certificate can't be read")?;
    if expiry < now + CA_RENEWAL {
        return Err("its certificate expires within a year".into());
    }
    let key = KeyPair::from_pem(&stored.key).map_err(|_| "its key can't be read")?;
    if !is_ca_of(&first, &key) {
        return Err("its certificate is not a CA's, or not of its key".into());
    }
    Issuer::from_ca_cert_der(&first, key).map_err(|_| "its certificate is not a CA's".into())
}

/// Returns a new authority. Its bundle keeps trusted certificates until they expire.
fn create(trusted: &str, now: SystemTime) -> Result<StoredAuthority, MakeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "mirrord-sessions-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + CA_VALIDITY).into();
    let mut bundle = params.self_signed(&key)?.pem();
    let mut added: Vec<CertificateDer<'_>> = Vec::new();
    for old in certificates(trusted) {
        if !added.contains(&old) && not_after(&old).is_some_and(|expiry| expiry > now) {
            bundle.push_str(&to_pem(&old));
            added.push(old);
        }
    }
    Ok(StoredAuthority { bundle, key: key.serialize_pem() })
}

impl Authority {
    /// Returns the trusted CA certificates in PEM.
    pub(crate) fn bundle(&self) -> &str {
        &self.stored.bundle
    }

    /// Returns whether both authorities have the same stored data.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.stored == other.stored
    }

    /// Issues a serving certificate for these DNS names and addresses.
    pub(crate) fn issue(&self, names: &[String], now: SystemTime) -> Result<Serving, MakeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // The bundle may contain several CAs of the same name: the key identifier selects one.
        params.use_authority_key_identifier_extension = true;
        let not_after = now + SERVING_VALIDITY;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = not_after.into();
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Serving {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            not_after,
        })
    }
}

impl Serving {
    /// Returns whether the certificate is due for renewal.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        self.not_after < now + SERVING_RENEWAL
    }
}

fn certificates(bundle: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok).collect()
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_vec()))
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Returns whether the certificate is a CA certificate of this key.
fn is_ca_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| {
        parsed.is_ca() && parsed.public_key().subject_public_key.data == key.public_key_raw()
    })
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
