//! The Secret through which the replicas share their CA.
//!
//! The manifests contain the Secret without data, so that the service account needs no right to
//! create Secrets.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::PostParams};
use tracing::info;

use super::authority::{self, Authority, MakeError, Plan, StoredAuthority};
use crate::redaction::summary;

/// The name of the Secret.
pub(crate) const SECRET: &str = "mirrord-sessions-webhook-ca";
const BUNDLE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// Limit of attempts to store an authority. Another replica may win once, and its authority is
/// used; further conflicts mean that another client keeps overwriting the Secret.
const ATTEMPTS: usize = 5;

/// Describes why no authority is available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("Secret {SECRET} is missing: apply the manifests again, they contain it without data")]
    Missing,
    #[error("Secret {SECRET} can't be read: {}", summary(.0))]
    Read(#[source] kube::Error),
    #[error("Secret {SECRET} can't be written: {}", summary(.0))]
    Write(#[source] kube::Error),
    #[error("Secret {SECRET} changes whenever it is written: does something else reset it?")]
    Contended,
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// Returns the shared authority, after storing a new one if the stored one is not usable.
pub(crate) async fn authority(
    secrets: &Api<Secret>,
    in_use: Option<&str>,
    now: SystemTime,
) -> Result<Authority, StoreError> {
    for _ in 0..ATTEMPTS {
        let secret = secrets.get_opt(SECRET).await.map_err(StoreError::Read)?;
        let secret = secret.ok_or(StoreError::Missing)?;
        match authority::plan(&stored(&secret), in_use, now)? {
            Plan::Use(authority) => return Ok(*authority),
            Plan::Store(next, reason) => {
                info!(secret = SECRET, reason, "storing a new certificate authority");
                // The resource version is a precondition, so that one of two replicas wins.
                let written =
                    secrets.replace(SECRET, &PostParams::default(), &with_data(secret, next)).await;
                match written {
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    Err(error) => return Err(StoreError::Write(error)),
                    Ok(_) => {}
                }
            }
        }
    }
    Err(StoreError::Contended)
}

fn stored(secret: &Secret) -> StoredAuthority {
    let text = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    StoredAuthority { bundle: text(BUNDLE), key: text(KEY) }
}

fn with_data(mut secret: Secret, authority: StoredAuthority) -> Secret {
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    data.insert(BUNDLE.into(), ByteString(authority.bundle.into_bytes()));
    data.insert(KEY.into(), ByteString(authority.key.into_bytes()));
    secret
}
