//! Certificates from files, as cert-manager or an administrator provides them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::{info, warn};

use super::resolver::CertResolver;
use crate::server::health::Health;

/// How often the files are read. Contents are compared: a mounted Secret changes by swapping links,
/// which file notifications and times miss.
pub(crate) const FILES_INTERVAL: Duration = Duration::from_secs(10);

/// Where certificate chain and key are, both PEM.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Why the files don't serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("{path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: no certificate in PEM", path = .0.display())]
    NoCertificate(PathBuf),
    #[error("{path}: no private key in PEM", path = .0.display())]
    NoKey(PathBuf),
    #[error("certificate and key don't serve: {0}")]
    Pair(#[from] rustls::Error),
}

type Contents = (Vec<u8>, Vec<u8>);

impl CertificateFiles {
    /// Loads the files into the slot, and again whenever they change. Ends with an error only where
    /// they don't serve at the start; later, the last good pair goes on serving.
    pub(crate) async fn keep_loaded(
        &self,
        slot: &CertResolver,
        health: &Health,
        interval: Duration,
    ) -> Result<(), FilesError> {
        let mut loaded = self.read().await?;
        self.load(&loaded, slot)?;
        health.certificate_loaded();
        health.ca_bundle_in_place();
        loop {
            tokio::time::sleep(interval).await;
            match self.read().await {
                Ok(contents) if contents == loaded => {}
                Ok(contents) => {
                    match self.load(&contents, slot) {
                        Ok(()) => info!("the certificate files changed and were loaded"),
                        Err(error) => {
                            warn!(%error, "the certificate files changed and don't serve; the last ones go on serving");
                        }
                    }
                    loaded = contents;
                }
                Err(error) => {
                    warn!(%error, "the certificate files can't be read; the last ones go on serving");
                }
            }
        }
    }

    async fn read(&self) -> Result<Contents, FilesError> {
        Ok((read(&self.certificate).await?, read(&self.key).await?))
    }

    fn load(&self, (chain, key): &Contents, slot: &CertResolver) -> Result<(), FilesError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap_or_default();
        if chain.is_empty() {
            return Err(FilesError::NoCertificate(self.certificate.clone()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| FilesError::NoKey(self.key.clone()))?;
        Ok(slot.set(chain, key)?)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    tokio::fs::read(path).await.map_err(|source| FilesError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
