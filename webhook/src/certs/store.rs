//! The Secret that the replicas share their CA through. It comes with the manifests, empty, so that
//! the service account needs no right to create Secrets.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::PostParams};
use tracing::info;

use super::authority::{self, Authority, MakeError, Plan, StoredAuthority};

/// The Secret's name.
pub(crate) const SECRET: &str = "mirrord-sessions-webhook-ca";
const BUNDLE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// Another replica may store its own in between, and then that one is used; more often than this is
/// somebody fighting over the Secret.
const ATTEMPTS: usize = 5;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("Secret {SECRET} is missing: apply the manifests again, they hold it empty")]
    Missing,
    #[error("Secret {SECRET} can't be read: {0}")]
    Read(#[source] kube::Error),
    #[error("Secret {SECRET} can't be written: {0}")]
    Write(#[source] kube::Error),
    #[error("Secret {SECRET} changes whenever it is written: does something else reset it?")]
    Contended,
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// The shared authority; stores a new one first where there is none that serves.
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
            Plan::Store(next, why) => {
                info!(secret = SECRET, why, "storing a new certificate authority");
                // With the resource version that was read: of two replicas, one wins.
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
