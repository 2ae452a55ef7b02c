//! The CA bundle in the webhook configurations and in the APIService.
//!
//! The bundle is the one field of these objects that this process writes.

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

/// A mutating or a validating webhook configuration.
pub(crate) trait Configuration:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// The consequence of a missing configuration, for the log.
    const WHILE_MISSING: &str;

    /// Returns the name and the bundle of each webhook.
    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)>;
}

impl Configuration for MutatingWebhookConfiguration {
    const WHILE_MISSING: &str = "Sessions are not stamped";

    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| (&*webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    const WHILE_MISSING: &str = "SessionPolicies are not checked";

    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks.map(|webhook| (&*webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

/// Applies the CA bundle to every webhook of a configuration.
///
/// A missing configuration is not an error: it may be created at any time, and is watched.
pub(crate) async fn apply<K: Configuration>(
    configurations: &Api<K>,
    bundle: &str,
) -> Result<(), kube::Error> {
    let kind = K::kind(&());
    let Some(configuration) = configurations.get_opt(WEBHOOK_NAME).await? else {
        warn!(
            name = WEBHOOK_NAME,
            "{kind} is missing: {} until the manifests are applied again",
            K::WHILE_MISSING
        );
        return Ok(());
    };
    if let Some(patch) = patch(&configuration, bundle) {
        // Force: this process owns the field, whoever wrote it last.
        let params = PatchParams::apply(WEBHOOK_NAME).force();
        configurations.patch(WEBHOOK_NAME, &params, &Patch::Apply(patch)).await?;
        info!(name = WEBHOOK_NAME, "applied the CA bundle to the {kind}");
    }
    Ok(())
}

/// Applies the CA bundle to the APIService. A missing APIService is not an error.
pub(crate) async fn apply_to_api_service(
    services: &Api<APIService>,
    bundle: &str,
) -> Result<(), kube::Error> {
    let Some(service) = services.get_opt(TRACKER_API_SERVICE).await? else {
        warn!(
            name = TRACKER_API_SERVICE,
            "APIService is missing: trackers are not served until the manifests are applied again"
        );
        return Ok(());
    };
    if let Some(patch) = api_service_patch(&service, bundle) {
        let params = PatchParams::apply(WEBHOOK_NAME).force();
        services.patch(TRACKER_API_SERVICE, &params, &Patch::Apply(patch)).await?;
        info!(name = TRACKER_API_SERVICE, "applied the CA bundle to the APIService");
    }
    Ok(())
}

/// Returns the server-side apply of the bundle alone, or nothing if the APIService has it.
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

/// Returns the server-side apply of every bundle alone, or nothing if all webhooks have it.
fn patch<K: Configuration>(configuration: &K, bundle: &str) -> Option<Value> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let bundles = configuration.bundles();
    if bundles.iter().all(|(_, current)| *current == Some(&bundle)) {
        return None;
    }
    // Name every webhook: server-side apply removes the bundle of a webhook that is omitted.
    let webhooks: Vec<Value> = bundles
        .iter()
        .map(|(name, _)| json!({ "name": name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // The uid prevents the patch from recreating a configuration that was deleted meanwhile.
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
    fn patches_only_differing_bundles() {
        let cases: [(&[(&str, Option<&str>)], bool); 5] = [
            (&[], false),
            (&[("a", Some("ca"))], false),
            (&[("a", None)], true),
            (&[("a", Some("old"))], true),
            (&[("a", Some("ca")), ("b", None)], true),
        ];
        for (webhooks, expected) in cases {
            assert_eq!(patch(&configuration(webhooks), "ca").is_some(), expected, "{webhooks:?}");
        }
    }

    #[test]
    fn sets_only_the_bundle_of_an_api_service() {
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
    fn names_every_webhook_and_sets_only_the_bundle() {
        let patch = patch(&configuration(&[("a", Some("ca")), ("b", None)]), "ca").unwrap();
        let webhook = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": "Y2E=" } });
        assert_eq!(
            patch,
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": { "name": WEBHOOK_NAME, "uid": "7" },
                "webhooks": [webhook("a"), webhook("b")],
            })
        );
    }
}
