//! Where the serving certificate comes from: files, or a self-made CA shared through a Secret.

mod authority;
mod bundle;
mod files;
mod slot;
mod store;

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tracing::{debug, error, info};

use crate::server::health::Health;
use authority::{Authority, Serving};
pub(crate) use files::{CertificateFiles, FILES_INTERVAL, FilesError};
pub(crate) use slot::CertificateSlot;

/// How often everything is looked at, whether or not a watch told of a change.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a failure, the next try; doubled each time, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The self-made certificates of one replica.
pub(crate) struct SelfMade {
    client: Client,
    namespace: String,
    names: Vec<String>,
    current: Option<(Authority, Serving)>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the CA bundle can't be put into the webhook configuration: {0}")]
    Bundle(#[source] kube::Error),
    #[error(transparent)]
    Make(#[from] authority::MakeError),
    #[error("the serving certificate doesn't serve: {0}")]
    Tls(#[from] rustls::Error),
}

impl SelfMade {
    /// Certificates for the Service of that name.
    pub(crate) fn new(client: Client, namespace: &str, service: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            // What the API server asks for when it calls a Service.
            names: vec![format!("{service}.{namespace}.svc")],
            current: None,
        }
    }

    /// Keeps a certificate in the slot and its CA in the webhook configuration, for ever. Failures
    /// are logged and tried again: a certificate that is there goes on serving.
    pub(crate) async fn keep(mut self, slot: &CertificateSlot, health: &Health) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut changes = pin!(stream::select(
            changes(secrets.clone(), store::SECRET),
            changes(configurations.clone(), WEBHOOK_NAME),
        ));
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.round(&secrets, &configurations, slot, health).await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    INTERVAL
                }
                Err(error) => {
                    error!(%error, retry_seconds = retry.as_secs(), "certificates are not in place");
                    let pause = retry;
                    retry = (retry * 2).min(INTERVAL);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.next() => {}
            }
        }
    }

    /// Authority, bundle, certificate, in this order: a certificate isn't served before its CA is
    /// trusted.
    async fn round(
        &mut self,
        secrets: &Api<Secret>,
        configurations: &Api<MutatingWebhookConfiguration>,
        slot: &CertificateSlot,
        health: &Health,
    ) -> Result<(), RoundError> {
        let now = SystemTime::now();
        let authority = store::authority(secrets, now).await?;
        let in_place = bundle::put_in_place(configurations, authority.bundle()).await;
        health.ca_bundle_in_place(in_place.is_ok());
        let is_current = self
            .current
            .as_ref()
            .is_some_and(|(current, serving)| current.same_as(&authority) && !serving.is_due(now));
        if !is_current {
            let serving = authority.issue(&self.names, now)?;
            slot.set(serving.chain.clone(), serving.key.clone_key())?;
            health.certificate_loaded();
            info!(names = ?self.names, "issued a serving certificate");
            self.current = Some((authority, serving));
        }
        in_place.map_err(RoundError::Bundle)
    }
}

/// Something each time the object of that name changes, or may have.
fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + use<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config)
        .default_backoff()
        .filter_map(|event| async {
            match event {
                Ok(
                    watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone,
                ) => Some(()),
                Ok(_) => None,
                Err(error) => {
                    debug!(%error, "a watch broke off and is started again");
                    None
                }
            }
        })
}
