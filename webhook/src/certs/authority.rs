//! The self-made certificate authority: values in, values out; `now` is passed in.
//!
//! All replicas share one CA through a Secret; each issues its own serving certificate from it, in
//! memory. The bundle that the API server is told to trust holds every CA that is still valid, so
//! that a replica which hasn't noticed a new CA yet is believed meanwhile.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// How long a CA is valid.
const CA_VALIDITY: Duration = DAY.saturating_mul(3 * 365);
/// A CA with less left than this is followed by a new one.
const CA_RENEWAL: Duration = DAY.saturating_mul(365);
/// How long a serving certificate is valid.
const SERVING_VALIDITY: Duration = DAY.saturating_mul(90);
/// A serving certificate with less left than this is issued anew.
const SERVING_RENEWAL: Duration = DAY.saturating_mul(30);
/// Clocks differ: certificates are valid from a little before they are made.
const CLOCK_SKEW: Duration = HOUR;

/// The PEM texts that the Secret holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct StoredAuthority {
    /// Every CA certificate that is to be trusted, the one that issues first.
    pub(crate) bundle: String,
    /// The private key of the first.
    pub(crate) key: String,
}

/// A certificate authority that can issue.
#[derive(Debug)]
pub(crate) struct Authority {
    stored: StoredAuthority,
    issuer: Issuer<'static, KeyPair>,
}

/// What to do about the stored authority.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It serves.
    Use(Box<Authority>),
    /// It doesn't, for this reason: store this one.
    Store(StoredAuthority, String),
}

/// A serving certificate with its key.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    not_after: SystemTime,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate could not be made: {0}")]
pub(crate) struct MakeError(#[from] rcgen::Error);

/// Decides whether the stored authority serves, and makes another if not.
///
/// `in_use` is the bundle that this replica serves under, if it does: a new authority goes on
/// trusting that too, also where the stored one was lost.
pub(crate) fn plan(
    stored: &StoredAuthority,
    in_use: Option<&str>,
    now: SystemTime,
) -> Result<Plan, MakeError> {
    match usable(stored, now) {
        Ok(issuer) => Ok(Plan::Use(Box::new(Authority { stored: stored.clone(), issuer }))),
        Err(why) => {
            let trusted = [&stored.bundle, in_use.unwrap_or_default()];
            Ok(Plan::Store(make(&trusted.join("\n"), now)?, why))
        }
    }
}

/// The issuer of a stored authority, or why it doesn't serve.
fn usable(stored: &StoredAuthority, now: SystemTime) -> Result<Issuer<'static, KeyPair>, String> {
    if stored.bundle.is_empty() && stored.key.is_empty() {
        return Err("there is none yet".into());
    }
    let first = certificates(&stored.bundle).into_iter().next();
    let first = first.ok_or("its bundle holds no certificate")?;
    let expiry = not_after(&first).ok_or("its certificate can't be read")?;
    if expiry < now + CA_RENEWAL {
        return Err("it expires within a year".into());
    }
    let key = KeyPair::from_pem(&stored.key).map_err(|_| "its key can't be read")?;
    if !certifies(&first, &key) {
        return Err("its certificate is not a CA's, or not of its key".into());
    }
    Issuer::from_ca_cert_der(&first, key).map_err(|_| "its certificate is not a CA's".into())
}

/// A new authority, whose bundle goes on trusting what was trusted until it expires.
fn make(trusted: &str, now: SystemTime) -> Result<StoredAuthority, MakeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "mirrord-sessions-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + CA_VALIDITY).into();
    let mut bundle = params.self_signed(&key)?.pem();
    let mut kept: Vec<CertificateDer<'_>> = Vec::new();
    for old in certificates(trusted) {
        if !kept.contains(&old) && not_after(&old).is_some_and(|expiry| expiry > now) {
            bundle.push_str(&to_pem(&old));
            kept.push(old);
        }
    }
    Ok(StoredAuthority { bundle, key: key.serialize_pem() })
}

impl Authority {
    /// The CA certificates to trust, as PEM.
    pub(crate) fn bundle(&self) -> &str {
        &self.stored.bundle
    }

    /// Whether `other` is stored as this one is.
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
        // Several CAs of one name may be in the bundle: this tells them apart.
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
    /// Whether it is time for the next one.
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

/// Whether the certificate is a CA's, and of this key.
fn certifies(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| {
        parsed.is_ca() && parsed.public_key().subject_public_key.data == key.public_key_raw()
    })
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
