//! Authentication of the front proxy (the aggregator) by its client certificate.
//!
//! The TLS layer requests a certificate and accepts any whose key the peer holds. Each request then
//! checks whether the certificate is the front proxy's. A change of the cluster's ConfigMap thus
//! applies to open connections too, and admission is served to clients without a certificate.

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

/// Namespace of the ConfigMap in which the API server describes its front proxy.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Authenticates requests of the front proxy that the cluster's ConfigMap describes.
#[derive(Debug, Default)]
pub(crate) struct FrontProxy {
    config: RwLock<Option<Arc<Config>>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Config {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Allowed common names; empty allows any.
    allowed_names: Vec<String>,
    headers: HeaderNames,
    /// The data of the ConfigMap.
    data: BTreeMap<String, String>,
}

/// Reason why the ConfigMap is unusable.
#[derive(Debug, thiserror::Error)]
enum InvalidConfig {
    #[error("missing {0}")]
    Missing(&'static str),
    #[error("{0} is not a JSON list of strings")]
    List(&'static str),
    #[error("requestheader-client-ca-file holds no usable certificate: {0}")]
    Authority(String),
}

impl FrontProxy {
    /// Returns the requester that the headers name, if the peer is the front proxy.
    pub(crate) fn authenticate(
        &self,
        peer: Option<&PeerCertificates>,
        headers: &http::HeaderMap,
    ) -> Option<Requester> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if let Err(error) = config.verify(peer?) {
            debug!(error, "rejected a client certificate");
            return None;
        }
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        front_proxy::parse_requester(&config.headers, &headers)
            .inspect_err(|error| debug!(?error, "rejected the headers of the front proxy"))
            .ok()
    }

    /// Returns a channel that is notified when the front proxy is replaced.
    ///
    /// A request that the previous front proxy authenticated ends then.
    pub(crate) fn watch_changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Watches the cluster's ConfigMap. Never returns.
    pub(crate) async fn run(&self, client: Client, health: &Health) {
        let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let events = watcher(api, config).default_backoff();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(config_map) | watcher::Event::InitApply(config_map)) => {
                    self.set(&config_map.data.unwrap_or_default());
                    health.front_proxy_loaded();
                }
                Ok(watcher::Event::Delete(_)) => {
                    warn!(
                        name = NAME,
                        "ConfigMap deleted: rejecting all requests of the front proxy"
                    );
                    self.clear();
                }
                Ok(_) => {}
                Err(_) => debug!(name = NAME, "failed to watch the ConfigMap, retrying"),
            }
        }
    }

    /// Applies the data of the ConfigMap. Unusable data disables the front proxy.
    fn set(&self, data: &BTreeMap<String, String>) {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        // A new list returns the same data again.
        if config.as_ref().is_some_and(|config| config.data == *data) {
            return;
        }
        drop(config);
        match Config::parse(data) {
            Ok(config) => {
                info!(allowed_names = ?config.allowed_names, "loaded the front proxy's CA");
                *self.config.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(config));
                self.changed.send_replace(());
            }
            Err(error) => {
                warn!(%error, name = NAME, "invalid ConfigMap: rejecting all requests of the front proxy");
                self.clear();
            }
        }
    }

    fn clear(&self) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.send_replace(());
    }
}

impl Config {
    fn parse(data: &BTreeMap<String, String>) -> Result<Self, InvalidConfig> {
        const CA: &str = "requestheader-client-ca-file";
        let list = |key: &'static str| match data.get(key) {
            None => Ok(Vec::new()),
            Some(text) if text.is_empty() => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text).map_err(|_| InvalidConfig::List(key)),
        };
        let authority = data.get(CA).ok_or(InvalidConfig::Missing(CA))?;
        let unusable = |error: &dyn std::fmt::Display| InvalidConfig::Authority(error.to_string());
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
            return Err(InvalidConfig::Missing("requestheader-username-headers"));
        }
        Ok(Self {
            verifier,
            allowed_names: list("requestheader-allowed-names")?,
            headers,
            data: data.clone(),
        })
    }

    fn verify(&self, peer: &[CertificateDer<'static>]) -> Result<(), String> {
        let (leaf, intermediates) = peer.split_first().ok_or("no certificate")?;
        self.verifier
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map_err(|error| error.to_string())?;
        if self.allowed_names.is_empty() {
            return Ok(());
        }
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|e| e.to_string())?;
        // Like in Go, the last of several common names counts.
        let name = leaf.subject().iter_common_name().last();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        if self.allowed_names.iter().any(|allowed| allowed == name) {
            Ok(())
        } else {
            Err(format!("common name {name:?} is not allowed"))
        }
    }
}

#[cfg(test)]
#[path = "front_proxy_tests.rs"]
pub(crate) mod tests;
