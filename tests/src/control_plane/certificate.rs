//! Client certificates for Kubernetes users.
//!
//! Kubernetes reads the user name from the subject's CN and one group from each O. rcgen stores the
//! attributes of a subject in a map by type, which allows only one group. Therefore this module
//! encodes the certificates itself. The attribute for the uid is specific to Kubernetes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use super::error::Error;
use super::kubeconfig::Identity;

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const KUBERNETES_UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

/// Start of validity: a `UTCTime` of 1975, so that a wrong clock has no effect.
const NOT_BEFORE: &[u8] = b"\x17\x0d750101000000Z";
/// End of validity: the `GeneralizedTime` that RFC 5280 defines for "no expiration".
const NOT_AFTER: &[u8] = b"\x18\x0f99991231235959Z";

/// Returns a client certificate for `identity`, signed by the ECDSA P-256 key `ca`, as PEM.
pub(crate) fn sign_client_certificate(
    identity: &Identity,
    key: &KeyPair,
    ca_name: &str,
    ca: &KeyPair,
) -> Result<String, Error> {
    let tbs = yasna::construct_der(|writer| write_tbs(writer, identity, key, ca_name));
    let signature = ca.sign(&tbs)?;
    let der = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(&tbs);
            write_signature_algorithm(writer.next());
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    });
    Ok(encode_pem(&der))
}

/// Writes the `TBSCertificate`, the signed part of the certificate.
fn write_tbs(writer: DERWriter<'_>, identity: &Identity, key: &KeyPair, ca_name: &str) {
    let issuer = [(COMMON_NAME, ca_name)];
    let groups = identity.groups.iter().map(|g| (ORGANIZATION, g.as_str()));
    let subject = std::iter::once((COMMON_NAME, identity.user.as_str()))
        .chain(groups)
        .chain(identity.uid.as_deref().map(|uid| (KUBERNETES_UID, uid)));
    writer.write_sequence(|writer| {
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
        writer.next().write_u64(serial_number(key));
        write_signature_algorithm(writer.next());
        write_name(writer.next(), issuer);
        writer.next().write_sequence(|writer| {
            writer.next().write_der(NOT_BEFORE);
            writer.next().write_der(NOT_AFTER);
        });
        write_name(writer.next(), subject);
        writer.next().write_der(&key.subject_public_key_info());
        writer.next().write_tagged(Tag::context(3), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    write_oid(writer.next(), EXTENDED_KEY_USAGE);
                    let usages = yasna::construct_der(|writer| {
                        writer.write_sequence(|writer| write_oid(writer.next(), CLIENT_AUTH));
                    });
                    writer.next().write_bytes(&usages);
                });
            });
        });
    });
}

/// Writes a name with a set for each attribute, as Go encodes several groups.
fn write_name<'a>(
    writer: DERWriter<'_>,
    attributes: impl IntoIterator<Item = (&'a [u64], &'a str)>,
) {
    writer.write_sequence(|writer| {
        for (kind, value) in attributes {
            writer.next().write_set_of(|writer| {
                writer.next().write_sequence(|writer| {
                    write_oid(writer.next(), kind);
                    writer.next().write_utf8_string(value);
                });
            });
        }
    });
}

fn write_signature_algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| write_oid(writer.next(), ECDSA_WITH_SHA256));
}

fn write_oid(writer: DERWriter<'_>, parts: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(parts));
}

/// Returns a serial number derived from the public key, whose first byte only marks its encoding.
fn serial_number(key: &KeyPair) -> u64 {
    let point = key.der_bytes().iter().skip(1).take(8);
    point.fold(0, |serial, byte| serial << 8 | u64::from(*byte))
}

fn encode_pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let lines: String =
        text.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}
