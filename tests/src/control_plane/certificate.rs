//! Client certificates for Kubernetes users.
//!
//! Kubernetes reads the user name from the subject's CN and one group from each O. rcgen keeps
//! attributes of a subject in a map by type, so that a user could have one group only; hence these
//! certificates are written out here. The extra attribute for the uid is Kubernetes' own.

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

/// `UTCTime` of 1975 and the `GeneralizedTime` that RFC 5280 gives for "never": a clock that is
/// wrong must not matter.
const NOT_BEFORE: &[u8] = b"\x17\x0d750101000000Z";
const NOT_AFTER: &[u8] = b"\x18\x0f99991231235959Z";

/// A certificate that makes its holder `identity`, as PEM. `ca` is an ECDSA P-256 key.
pub(crate) fn for_client(
    identity: &Identity,
    key: &KeyPair,
    ca_name: &str,
    ca: &KeyPair,
) -> Result<String, Error> {
    let to_sign = yasna::construct_der(|writer| to_sign(writer, identity, key, ca_name));
    let signature = ca.sign(&to_sign)?;
    let der = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(&to_sign);
            signature_algorithm(writer.next());
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    });
    Ok(pem(&der))
}

fn to_sign(writer: DERWriter<'_>, identity: &Identity, key: &KeyPair, ca_name: &str) {
    let issuer = [(COMMON_NAME, ca_name)];
    let groups = identity.groups.iter().map(|g| (ORGANIZATION, g.as_str()));
    let subject = std::iter::once((COMMON_NAME, identity.user.as_str()))
        .chain(groups)
        .chain(identity.uid.as_deref().map(|uid| (KUBERNETES_UID, uid)));
    writer.write_sequence(|writer| {
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
        writer.next().write_u64(serial(key));
        signature_algorithm(writer.next());
        name(writer.next(), issuer);
        writer.next().write_sequence(|writer| {
            writer.next().write_der(NOT_BEFORE);
            writer.next().write_der(NOT_AFTER);
        });
        name(writer.next(), subject);
        writer.next().write_der(&key.subject_public_key_info());
        writer.next().write_tagged(Tag::context(3), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    oid(writer.next(), EXTENDED_KEY_USAGE);
                    let usages = yasna::construct_der(|writer| {
                        writer.write_sequence(|writer| oid(writer.next(), CLIENT_AUTH));
                    });
                    writer.next().write_bytes(&usages);
                });
            });
        });
    });
}

/// Each attribute is a set of its own: that is how Go's own certificates have several groups.
fn name<'a>(writer: DERWriter<'_>, attributes: impl IntoIterator<Item = (&'a [u64], &'a str)>) {
    writer.write_sequence(|writer| {
        for (kind, value) in attributes {
            writer.next().write_set_of(|writer| {
                writer.next().write_sequence(|writer| {
                    oid(writer.next(), kind);
                    writer.next().write_utf8_string(value);
                });
            });
        }
    });
}

fn signature_algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| oid(writer.next(), ECDSA_WITH_SHA256));
}

fn oid(writer: DERWriter<'_>, parts: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(parts));
}

/// As random as the key: after the byte that says "uncompressed", its point is.
fn serial(key: &KeyPair) -> u64 {
    let point = key.der_bytes().iter().skip(1).take(8);
    point.fold(0, |serial, byte| serial << 8 | u64::from(*byte))
}

fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let lines: String =
        text.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}
