//! Expiry of a bundle of certificates.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use x509_parser::pem::Pem;

/// Returns the expiry of the bundle's last certificate. A bundle may contain older certificates
/// that are being replaced. The bundle is PEM in base64, as in Kubernetes objects.
///
/// # Errors
/// Returns an error if the bundle contains no valid certificate.
pub(crate) fn expiry(bundle: &str) -> Result<Timestamp, String> {
    let pem = STANDARD.decode(bundle).map_err(|error| format!("it is not base64: {error}"))?;
    let mut latest = None;
    for block in Pem::iter_from_buffer(&pem) {
        let block = block.map_err(|error| format!("it is not PEM: {error}"))?;
        let certificate = block
            .parse_x509()
            .map_err(|error| format!("it contains an invalid certificate: {error}"))?;
        let end = certificate.validity().not_after.timestamp();
        let end = Timestamp::from_second(end).map_err(|error| error.to_string())?;
        latest = latest.max(Some(end));
    }
    latest.ok_or_else(|| "it contains no certificate".to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    pub(crate) fn certificate(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn returns_the_last_expiry() {
        let both = STANDARD.encode(certificate(2040) + &certificate(2030));
        assert_eq!(expiry(&both).unwrap().to_string(), "2040-01-01T00:00:00Z");
    }

    #[test]
    fn rejects_invalid_bundles() {
        let broken = certificate(2040).replace("MII", "AAA");
        for (bundle, expected) in [
            (STANDARD.encode("nothing"), "it contains no certificate"),
            ("%%%".to_owned(), "it is not base64"),
            (STANDARD.encode(broken), "it contains an invalid certificate"),
        ] {
            let error = expiry(&bundle).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
