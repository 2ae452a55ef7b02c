//! Serving certificates: from files, or issued by a CA that the replicas share through a Secret.

mod authority;
mod bundle;
mod files;
mod resolver;
mod store;

use std::time::{Duration, SystemTime};

use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_crds::{TRACKER_API_SERVICE, WEBHOOK_NAME};
use tracing::{debug, error, info};

use crate::{redaction::summary, server::health::Health};
use authority::{Authority, Serving};
pub(crate) use files::{CertificateFiles, FILES_INTERVAL, FilesError};
pub(crate) use resolver::CertResolver;

/// Interval of reconciliation without a watch event.
const INTERVAL: Duration = Duration::from_mins(10);
/// Debounce after a watch event.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// First delay after a failure, doubled by each further failure up to [`INTERVAL`].
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The objects that the reconciliation reads and writes.
struct Objects {
    secrets: Api<Secret>,
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
    /// The APIService, if trackers are served.
    api_services: Option<Api<APIService>>,
}

/// The self-signed CA and the serving certificate of one replica.
pub(crate) struct SelfSigned {
    client: Client,
    namespace: String,
    names: Vec<String>,
    trackers: bool,
    current: Option<(Authority, Serving)>,
}

/// Describes why a reconciliation failed.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the CA bundle can't be written to the webhook configurations: {}", summary(.0))]
    Bundle(#[source] kube::Error),
    #[error("the CA bundle can't be written to the APIService: {}", summary(.0))]
    ApiService(#[source] kube::Error),
    #[error(transparent)]
    Make(#[from] authority::MakeError),
    #[error("the serving certificate is not usable: {0}")]
    Tls(#[from] rustls::Error),
}

impl SelfSigned {
    /// Creates the certificates of a Service.
    pub(crate) fn new(client: Client, namespace: &str, service: &str, trackers: bool) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            // The API server connects to a Service by this server name.
            names: vec![format!("{service}.{namespace}.svc")],
            trackers,
            current: None,
        }
    }

    /// Keeps the certificate of the resolver and the CA bundles current, and never returns.
    ///
    /// Failures are logged and retried. The current certificate stays in use meanwhile.
    pub(crate) async fn keep(mut self, resolver: &CertResolver, health: &Health) {
        let objects = Objects {
            secrets: Api::namespaced(self.client.clone(), &self.namespace),
            mutating: Api::all(self.client.clone()),
            validating: Api::all(self.client.clone()),
            api_services: self.trackers.then(|| Api::all(self.client.clone())),
        };
        let mut watched = vec![
            changes(objects.secrets.clone(), store::SECRET).boxed(),
            changes(objects.mutating.clone(), WEBHOOK_NAME).boxed(),
            changes(objects.validating.clone(), WEBHOOK_NAME).boxed(),
        ];
        let api_services = objects.api_services.clone();
        watched.extend(api_services.map(|services| changes(services, TRACKER_API_SERVICE).boxed()));
        let mut changes = stream::select_all(watched);
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.reconcile(&objects, resolver, health).await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    INTERVAL
                }
                Err(error) => {
                    error!(%error, retry_seconds = retry.as_secs(), "could not reconcile certificates");
                    let pause = retry;
                    retry = (retry * 2).min(INTERVAL);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.next() => {
                    // Events arrive in bursts, our own writes among them. The delay also limits the
                    // rate of writes against a client that keeps reverting the bundle.
                    tokio::time::sleep(DEBOUNCE).await;
                    while changes.next().now_or_never().is_some() {}
                }
            }
        }
    }

    /// Reconciles the authority, the bundles and the certificate, in this order.
    ///
    /// A certificate that replaces another is served only after its CA is trusted.
    async fn reconcile(
        &mut self,
        objects: &Objects,
        resolver: &CertResolver,
        health: &Health,
    ) -> Result<(), ReconcileError> {
        let now = SystemTime::now();
        let in_use = self.current.as_ref().map(|(authority, _)| authority.bundle());
        let authority = store::authority(&objects.secrets, in_use, now).await?;
        let bundle = authority.bundle().to_owned();
        let bundles = async {
            bundle::apply(&objects.mutating, &bundle).await?;
            bundle::apply(&objects.validating, &bundle).await
        };
        let bundles = bundles.await;
        if bundles.is_ok() {
            health.ca_bundle_applied();
        }
        let action =
            CertificateAction::after(self.current.as_ref(), &authority, bundles.is_ok(), now);
        if action == CertificateAction::Issue {
            let serving = authority.issue(&self.names, now)?;
            resolver.set(serving.chain.clone(), serving.key.clone_key())?;
            health.certificate_loaded();
            info!(names = ?self.names, "issued a serving certificate");
            self.current = Some((authority, serving));
        }
        bundles.map_err(ReconcileError::Bundle)?;
        // The APIService is last, because admission does not depend on it.
        match &objects.api_services {
            Some(services) => bundle::apply_to_api_service(services, &bundle)
                .await
                .map_err(ReconcileError::ApiService),
            None => Ok(()),
        }
    }
}

/// The action on the serving certificate.
#[derive(Debug, Eq, PartialEq)]
enum CertificateAction {
    /// Keeps the current certificate.
    Retain,
    /// Issues the next certificate.
    Issue,
}

impl CertificateAction {
    fn after(
        current: Option<&(Authority, Serving)>,
        authority: &Authority,
        is_trusted: bool,
        now: SystemTime,
    ) -> Self {
        match current {
            // The first certificate is served at once: another replica may have applied the same
            // CA.
            None => Self::Issue,
            Some((issued_by, serving)) => {
                let same = issued_by.same_as(authority);
                if (same && serving.is_due(now)) || (!same && is_trusted) {
                    Self::Issue
                } else {
                    Self::Retain
                }
            }
        }
    }
}

/// Returns a stream with an item for each possible change of an object.
fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + use<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config).default_backoff().filter_map(|event| async move {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
                Some(())
            }
            Ok(_) => None,
            // The error may quote the object.
            Err(_) => {
                debug!("watch failed and is restarted");
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use authority::{Plan, StoredAuthority};

    use super::*;

    #[test]
    fn issues_no_certificate_before_its_authority_is_trusted() {
        let now = SystemTime::now();
        let new_authority = || {
            let Plan::Store(stored, _) =
                authority::plan(&StoredAuthority::default(), None, now).unwrap()
            else {
                panic!("an empty authority is not usable");
            };
            let Plan::Use(authority) = authority::plan(&stored, None, now).unwrap() else {
                panic!("a new authority is usable");
            };
            (stored, authority)
        };
        let (stored, first) = new_authority();
        let (_, second) = new_authority();
        let serving = first.issue(&["a".into()], now).unwrap();
        let Plan::Use(same) = authority::plan(&stored, None, now).unwrap() else {
            panic!("the stored authority is usable");
        };
        let current = Some((*first, serving));
        let due = now + Duration::from_hours(24 * 61);
        for (name, current, authority, is_trusted, at, expected) in [
            ("first certificate", None, &same, false, now, CertificateAction::Issue),
            ("same authority", current.as_ref(), &same, true, now, CertificateAction::Retain),
            (
                "same authority, bundle not written",
                current.as_ref(),
                &same,
                false,
                now,
                CertificateAction::Retain,
            ),
            ("due for renewal", current.as_ref(), &same, false, due, CertificateAction::Issue),
            (
                "another authority, trusted",
                current.as_ref(),
                &second,
                true,
                now,
                CertificateAction::Issue,
            ),
            (
                "another authority, not trusted",
                current.as_ref(),
                &second,
                false,
                due,
                CertificateAction::Retain,
            ),
        ] {
            assert_eq!(
                CertificateAction::after(current, authority, is_trusted, at),
                expected,
                "{name}"
            );
        }
    }
}
