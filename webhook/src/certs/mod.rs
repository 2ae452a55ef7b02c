//! Where the serving certificate comes from: files, or a self-made CA shared through a Secret.

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

use crate::server::health::Health;
use authority::{Authority, Serving};
pub(crate) use files::{CertificateFiles, FILES_INTERVAL, FilesError};
pub(crate) use resolver::CertResolver;

/// How often everything is looked at, whether or not a watch told of a change.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a change, the time to wait for more.
const SETTLE: Duration = Duration::from_millis(200);
/// After a failure, the next try; doubled each time, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The objects that are read and written.
struct Objects {
    secrets: Api<Secret>,
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
    /// Of the trackers, where they are served.
    services: Option<Api<APIService>>,
}

/// The self-made certificates of one replica.
pub(crate) struct SelfMade {
    client: Client,
    namespace: String,
    names: Vec<String>,
    trackers: bool,
    current: Option<(Authority, Serving)>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the CA bundle can't be put into the webhook configurations: {0}")]
    Bundle(#[source] kube::Error),
    #[error("the CA bundle can't be put into the APIService: {0}")]
    ApiService(#[source] kube::Error),
    #[error(transparent)]
    Make(#[from] authority::MakeError),
    #[error("the serving certificate doesn't serve: {0}")]
    Tls(#[from] rustls::Error),
}

impl SelfMade {
    /// Certificates for the Service of that name.
    pub(crate) fn new(client: Client, namespace: &str, service: &str, trackers: bool) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            // What the API server asks for when it calls a Service.
            names: vec![format!("{service}.{namespace}.svc")],
            trackers,
            current: None,
        }
    }

    /// Keeps a certificate in the slot and its CA in the webhook configuration, for ever. Failures
    /// are logged and tried again: a certificate that is there goes on serving.
    pub(crate) async fn keep(mut self, slot: &CertResolver, health: &Health) {
        let objects = Objects {
            secrets: Api::namespaced(self.client.clone(), &self.namespace),
            mutating: Api::all(self.client.clone()),
            validating: Api::all(self.client.clone()),
            services: self.trackers.then(|| Api::all(self.client.clone())),
        };
        let mut watched = vec![
            changes(objects.secrets.clone(), store::SECRET).boxed(),
            changes(objects.mutating.clone(), WEBHOOK_NAME).boxed(),
            changes(objects.validating.clone(), WEBHOOK_NAME).boxed(),
        ];
        let services = objects.services.clone();
        watched.extend(services.map(|services| changes(services, TRACKER_API_SERVICE).boxed()));
        let mut changes = stream::select_all(watched);
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.round(&objects, slot, health).await {
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
                _ = changes.next() => {
                    // Changes come in bunches, our own among them; and whoever changes a bundle
                    // back all the time is answered at this pace.
                    tokio::time::sleep(SETTLE).await;
                    while changes.next().now_or_never().is_some() {}
                }
            }
        }
    }

    /// Authority, bundle, certificate, in this order: where one certificate is served already, the
    /// next isn't before its CA is trusted.
    async fn round(
        &mut self,
        objects: &Objects,
        slot: &CertResolver,
        health: &Health,
    ) -> Result<(), RoundError> {
        let now = SystemTime::now();
        let in_use = self.current.as_ref().map(|(authority, _)| authority.bundle());
        let authority = store::authority(&objects.secrets, in_use, now).await?;
        let bundle = authority.bundle().to_owned();
        let in_place = async {
            bundle::put_in_place(&objects.mutating, &bundle).await?;
            bundle::put_in_place(&objects.validating, &bundle).await
        };
        let in_place = in_place.await;
        if in_place.is_ok() {
            health.ca_bundle_in_place();
        }
        let next = Next::after(self.current.as_ref(), &authority, in_place.is_ok(), now);
        if next == Next::Issue {
            let serving = authority.issue(&self.names, now)?;
            slot.set(serving.chain.clone(), serving.key.clone_key())?;
            health.certificate_loaded();
            info!(names = ?self.names, "issued a serving certificate");
            self.current = Some((authority, serving));
        }
        in_place.map_err(RoundError::Bundle)?;
        // Last: admission doesn't wait for it.
        match &objects.services {
            Some(services) => {
                bundle::put_in_api_service(services, &bundle).await.map_err(RoundError::ApiService)
            }
            None => Ok(()),
        }
    }
}

/// What becomes of the certificate that is served.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    /// It goes on.
    Keep,
    /// Another follows.
    Issue,
}

impl Next {
    fn after(
        current: Option<&(Authority, Serving)>,
        authority: &Authority,
        is_trusted: bool,
        now: SystemTime,
    ) -> Self {
        match current {
            // The first: another replica may have put the same CA in place.
            None => Self::Issue,
            Some((issued_by, serving)) => {
                let same = issued_by.same_as(authority);
                if (same && serving.is_due(now)) || (!same && is_trusted) {
                    Self::Issue
                } else {
                    Self::Keep
                }
            }
        }
    }
}

/// Something each time the object of that name changes, or may have.
fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + use<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config).default_backoff().filter_map(|event| async {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
                Some(())
            }
            Ok(_) => None,
            Err(error) => {
                debug!(%error, "a watch broke off and is started again");
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
    fn a_certificate_is_not_served_before_it_is_trusted() {
        let now = SystemTime::now();
        let make = || {
            let Plan::Store(stored, _) =
                authority::plan(&StoredAuthority::default(), None, now).unwrap()
            else {
                panic!("nothing can't serve");
            };
            let Plan::Use(authority) = authority::plan(&stored, None, now).unwrap() else {
                panic!("a new one serves");
            };
            (stored, authority)
        };
        let (stored, first) = make();
        let (_, second) = make();
        let serving = first.issue(&["a".into()], now).unwrap();
        let Plan::Use(same) = authority::plan(&stored, None, now).unwrap() else {
            panic!("it serves");
        };
        let current = Some((*first, serving));
        let due = now + Duration::from_hours(24 * 61);
        for (name, current, authority, is_trusted, at, expected) in [
            ("the first", None, &same, false, now, Next::Issue),
            ("the same", current.as_ref(), &same, true, now, Next::Keep),
            ("the same, not written", current.as_ref(), &same, false, now, Next::Keep),
            ("due", current.as_ref(), &same, false, due, Next::Issue),
            ("another, trusted", current.as_ref(), &second, true, now, Next::Issue),
            ("another, not trusted", current.as_ref(), &second, false, due, Next::Keep),
        ] {
            assert_eq!(Next::after(current, authority, is_trusted, at), expected, "{name}");
        }
    }
}
