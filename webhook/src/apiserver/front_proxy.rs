//! Who may speak for others: the aggregator, known by its client certificate.
//!
//! The TLS layer asks for a certificate and takes any whose key the peer holds; whether it is the
//! front proxy's is decided per request, so that a change of the cluster's ConfigMap counts for
//! open connections too, and so that admission is served to whoever shows none.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_core::{
    apiserver::front_proxy::{self, HeaderNames},
    identity::Requester,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::server::{client_certificates::PeerCertificates, health::Health};

/// Where the API server publishes how its front proxy is known.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The front proxy as the cluster describes it now.
#[derive(Debug, Default)]
pub(crate) struct FrontProxy {
    known: RwLock<Option<Arc<Known>>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Common names; any if there are none.
    names: Vec<String>,
    headers: HeaderNames,
    /// What all that was read from.
    described: BTreeMap<String, String>,
}

/// Why a description is of no use.
#[derive(Debug, thiserror::Error)]
enum InvalidDescription {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("{0} is not a JSON list of texts")]
    List(&'static str),
    #[error("the front proxy's CA holds no certificate that serves: {0}")]
    Authority(String),
}

impl FrontProxy {
    /// The requester that the headers name, if the peer may name one.
    pub(crate) fn requester(
        &self,
        peer: Option<&PeerCertificates>,
        headers: &http::HeaderMap,
    ) -> Option<Requester> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if let Err(why) = known.verify(peer?) {
            debug!(why, "a client certificate is not the front proxy's");
            return None;
        }
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        front_proxy::parse_requester(&known.headers, &headers)
            .inspect_err(|why| debug!(?why, "the front proxy named nobody"))
            .ok()
    }

    /// Who waits for another description: what was begun on the word of the last one ends with it.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Follows the cluster's ConfigMap, for ever.
    pub(crate) async fn follow(&self, client: Client, health: &Health) {
        let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let events = watcher(api, config).default_backoff();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    self.set(&map.data.unwrap_or_default());
                    health.front_proxy_loaded();
                }
                Ok(watcher::Event::Delete(_)) => {
                    warn!(name = NAME, "the ConfigMap is gone: nobody may speak for others");
                    self.forget();
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, name = NAME, "the ConfigMap's watch broke off and is started again");
                }
            }
        }
    }

    /// Takes over a description; one that is of no use leaves nobody who may speak for others.
    fn set(&self, data: &BTreeMap<String, String>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Told again when the watch starts anew.
        if known.as_ref().is_some_and(|known| known.described == *data) {
            return;
        }
        drop(known);
        match Known::parse(data) {
            Ok(known) => {
                info!(names = ?known.names, "the front proxy is known");
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
                self.changed.send_replace(());
            }
            Err(error) => {
                warn!(%error, name = NAME, "nobody may speak for others");
                self.forget();
            }
        }
    }

    fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.send_replace(());
    }
}

impl Known {
    fn parse(data: &BTreeMap<String, String>) -> Result<Self, InvalidDescription> {
        const CA: &str = "requestheader-client-ca-file";
        let list = |key: &'static str| match data.get(key) {
            None => Ok(Vec::new()),
            Some(text) if text.is_empty() => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text).map_err(|_| InvalidDescription::List(key)),
        };
        let authority = data.get(CA).ok_or(InvalidDescription::Missing(CA))?;
        let unusable =
            |error: &dyn std::fmt::Display| InvalidDescription::Authority(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable(&error))?;
        let headers = HeaderNames {
            username: list("requestheader-username-headers")?,
            uid: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        };
        if headers.username.is_empty() {
            return Err(InvalidDescription::Missing("requestheader-username-headers"));
        }
        Ok(Self {
            verifier,
            names: list("requestheader-allowed-names")?,
            headers,
            described: data.clone(),
        })
    }

    fn verify(&self, peer: &[CertificateDer<'static>]) -> Result<(), String> {
        let (leaf, intermediates) = peer.split_first().ok_or("there is none")?;
        self.verifier
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map_err(|error| error.to_string())?;
        if self.names.is_empty() {
            return Ok(());
        }
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|e| e.to_string())?;
        // The last one counts where there are several, as in Go.
        let name = leaf.subject().iter_common_name().last();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        if self.names.iter().any(|allowed| allowed == name) {
            Ok(())
        } else {
            Err(format!("its name {name:?} is not allowed"))
        }
    }
}

#[cfg(test)]
#[path = "front_proxy_tests.rs"]
pub(crate) mod tests;
