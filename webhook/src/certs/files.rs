//! Certificates from files, as provided by cert-manager or an administrator.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::{info, warn};

use super::resolver::CertResolver;
use crate::server::health::Health;

/// Interval of reading the files. Contents are compared, because a mounted Secret changes by
/// swapping symbolic links, which file notifications and modification times miss.
pub(crate) const FILES_INTERVAL: Duration = Duration::from_secs(10);

/// The paths of certificate chain and private key, both in PEM.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Describes why the files are not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("{path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: no certificate in PEM", path = .0.display())]
    NoCertificate(PathBuf),
    #[error("{path}: no private key in PEM", path = .0.display())]
    NoKey(PathBuf),
    #[error("certificate and key are not usable: {0}")]
    Pair(#[from] rustls::Error),
}

type Contents = (Vec<u8>, Vec<u8>);

impl CertificateFiles {
    /// Loads the files into the resolver, and reloads them when they change.
    ///
    /// Returns an error only if the files are not usable at the start. Later, the last usable pair
    /// stays in use.
    pub(crate) async fn keep_loaded(
        &self,
        resolver: &CertResolver,
        health: &Health,
        interval: Duration,
    ) -> Result<(), FilesError> {
        let mut loaded = self.read().await?;
        self.load(&loaded, resolver)?;
        health.certificate_loaded();
        health.ca_bundle_applied();
        loop {
            tokio::time::sleep(interval).await;
            match self.read().await {
                Ok(contents) if contents == loaded => {}
                Ok(contents) => {
                    match self.load(&contents, resolver) {
                        Ok(()) => info!("reloaded the certificate files"),
                        Err(error) => {
                            warn!(%error, "the changed certificate files are not usable; the last certificate stays in use");
                        }
                    }
                    loaded = contents;
                }
                Err(error) => {
                    warn!(%error, "could not read the certificate files; the last certificate stays in use");
                }
            }
        }
    }

    async fn read(&self) -> Result<Contents, FilesError> {
        Ok((read(&self.certificate).await?, read(&self.key).await?))
    }

    fn load(&self, (chain, key): &Contents, resolver: &CertResolver) -> Result<(), FilesError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap_or_default();
        if chain.is_empty() {
            return Err(FilesError::NoCertificate(self.certificate.clone()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| FilesError::NoKey(self.key.clone()))?;
        Ok(resolver.set(chain, key)?)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    tokio::fs::read(path).await.map_err(|source| FilesError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
