//! The CA bundle in the webhook configurations and in the APIService: the one field of each that
//! this process writes.

use std::fmt::Debug;

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use mirrord_sessions_crds::{TRACKER_API_SERVICE, WEBHOOK_NAME};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::{info, warn};

/// A mutating or a validating webhook configuration, as far as it matters here.
pub(crate) trait Configuration:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// What goes undone while there is none.
    const DOES: &str;

    /// Each webhook's name and bundle.
    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)>;
}

impl Configuration for MutatingWebhookConfiguration {
    const DOES: &str = "Sessions aren't stamped";

    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| (&*webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    const DOES: &str = "SessionPolicies aren't checked";

    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| (&*webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

/// Makes the configuration trust `bundle`. One that isn't there needs nothing: it may be created at
/// any time, and is watched.
pub(crate) async fn put_in_place<K: Configuration>(
    configurations: &Api<K>,
    bundle: &str,
) -> Result<(), kube::Error> {
    let kind = K::kind(&());
    let Some(configuration) = configurations.get_opt(WEBHOOK_NAME).await? else {
        warn!(
            name = WEBHOOK_NAME,
            "there is no {kind} of that name: {} until the manifests are applied again",
            K::DOES
        );
        return Ok(());
    };
    if let Some(patch) = patch(&configuration, bundle) {
        // By force: the field is this process' own, whoever wrote it last.
        let params = PatchParams::apply(WEBHOOK_NAME).force();
        configurations.patch(WEBHOOK_NAME, &params, &Patch::Apply(patch)).await?;
        info!(name = WEBHOOK_NAME, "put the CA bundle into the {kind}");
    }
    Ok(())
}

/// Makes the APIService trust `bundle`. One that isn't there needs nothing, as above.
pub(crate) async fn put_in_api_service(
    services: &Api<APIService>,
    bundle: &str,
) -> Result<(), kube::Error> {
    let Some(service) = services.get_opt(TRACKER_API_SERVICE).await? else {
        warn!(
            name = TRACKER_API_SERVICE,
            "there is no APIService of that name: trackers aren't served until the manifests are applied again"
        );
        return Ok(());
    };
    if let Some(patch) = api_service_patch(&service, bundle) {
        let params = PatchParams::apply(WEBHOOK_NAME).force();
        services.patch(TRACKER_API_SERVICE, &params, &Patch::Apply(patch)).await?;
        info!(name = TRACKER_API_SERVICE, "put the CA bundle into the APIService");
    }
    Ok(())
}

/// The server-side apply that sets the bundle and nothing else; none if it is there.
fn api_service_patch(service: &APIService, bundle: &str) -> Option<Value> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let current = service.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
    (current != Some(&bundle)).then(|| {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": TRACKER_API_SERVICE, "uid": service.uid() },
            "spec": { "caBundle": bundle },
        })
    })
}

/// The server-side apply that sets every webhook's bundle and nothing else; none if all have it.
fn patch<K: Configuration>(configuration: &K, bundle: &str) -> Option<Value> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let bundles = configuration.bundles();
    if bundles.iter().all(|(_, current)| *current == Some(&bundle)) {
        return None;
    }
    // All of them: a webhook left out would lose the bundle that was applied before.
    let webhooks: Vec<Value> = bundles
        .iter()
        .map(|(name, _)| json!({ "name": name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // With its uid, so that one which was deleted meanwhile isn't made anew from this.
        "metadata": { "name": configuration.name_any(), "uid": configuration.uid() },
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;

    use super::*;

    fn configuration(webhooks: &[(&str, Option<&str>)]) -> MutatingWebhookConfiguration {
        let mut configuration = MutatingWebhookConfiguration::default();
        configuration.metadata.name = Some(WEBHOOK_NAME.into());
        configuration.metadata.uid = Some("7".into());
        let webhooks = webhooks.iter().map(|(name, bundle)| {
            let mut webhook =
                MutatingWebhook { name: (*name).into(), ..MutatingWebhook::default() };
            webhook.client_config.ca_bundle = bundle.map(|bundle| ByteString(bundle.into()));
            webhook
        });
        configuration.webhooks = Some(webhooks.collect());
        configuration
    }

    #[test]
    #[allow(clippy::type_complexity)]
    fn only_what_differs_is_written() {
        let cases: [(&[(&str, Option<&str>)], bool); 5] = [
            (&[], false),
            (&[("a", Some("ca"))], false),
            (&[("a", None)], true),
            (&[("a", Some("old"))], true),
            (&[("a", Some("ca")), ("b", None)], true),
        ];
        for (webhooks, written) in cases {
            assert_eq!(patch(&configuration(webhooks), "ca").is_some(), written, "{webhooks:?}");
        }
    }

    #[test]
    fn of_an_api_service_the_bundle_alone_is_set() {
        let mut service = APIService::default();
        service.metadata.uid = Some("7".into());
        let patch = api_service_patch(&service, "ca").unwrap();
        assert_eq!(patch["spec"], json!({ "caBundle": "Y2E=" }));
        let spec = service.spec.get_or_insert_default();
        spec.ca_bundle = Some(ByteString("ca".into()));
        assert!(api_service_patch(&service, "ca").is_none());
        assert!(api_service_patch(&service, "other").is_some());
    }

    #[test]
    fn every_webhook_is_named_and_nothing_but_the_bundle_is_set() {
        let patch = patch(&configuration(&[("a", Some("ca")), ("b", None)]), "ca").unwrap();
        let of = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": "Y2E=" } });
        assert_eq!(
            patch,
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": { "name": WEBHOOK_NAME, "uid": "7" },
                "webhooks": [of("a"), of("b")],
            })
        );
    }
}
