//! Requests about the cluster and about the installation of mirrord-sessions.

use std::time::Duration;

use http::Method;
use mirrord_sessions_crds::{GROUP, SYSTEM_NAMESPACE, TRACKER_API_SERVICE, WEBHOOK_NAME};
use serde_json::{Value, json};

use super::{
    client::Server,
    options::{Scope, cluster_request, session_request},
    source::Source,
};
use crate::error::{Error, FailureKind, Verb};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Result of a request for trackers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrackerAvailability {
    /// The API server listed trackers.
    Served,
    /// The cluster has no tracker API.
    Missing,
    /// The API server cannot reach the tracker API, with the reason.
    Unreachable(String),
}

impl Server {
    /// Returns the version of Kubernetes, as `/version` reports it.
    pub async fn version(&self) -> Result<Value, Error> {
        self.request(&cluster_request(Verb::Get), Method::GET, "/version", None).await
    }

    /// Returns the requester's user name, as the API server authenticates it.
    pub async fn whoami(&self) -> Result<String, Error> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let review: Value =
            self.request(&cluster_request(Verb::Create), Method::POST, path, Some(&review)).await?;
        let name = review.pointer("/status/userInfo/username");
        let name = name.and_then(Value::as_str).map(ToOwned::to_owned);
        name.ok_or_else(|| Error::Unexpected {
            host: self.host.clone(),
            what: "a SelfSubjectReview without a user".to_owned(),
        })
    }

    /// Returns the MutatingWebhookConfiguration, or `None` if it does not exist.
    pub async fn mutating_webhook(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/mutatingwebhookconfigurations/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// Returns the ValidatingWebhookConfiguration, which authorizes deletions of Sessions.
    pub async fn validating_webhook(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingwebhookconfigurations/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// Returns the list of the cluster's ValidatingAdmissionPolicies.
    pub async fn admission_policies(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingadmissionpolicies");
        self.cluster_object(&path).await
    }

    /// Returns the list of the cluster's ValidatingAdmissionPolicyBindings.
    pub async fn admission_policy_bindings(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingadmissionpolicybindings");
        self.cluster_object(&path).await
    }

    /// Returns the webhook's Deployment, or `None` if it does not exist.
    pub async fn deployment(&self) -> Result<Option<Value>, Error> {
        let path =
            format!("/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}/deployments/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// Returns the APIService of session trackers, or `None` if it does not exist.
    pub async fn api_service(&self) -> Result<Option<Value>, Error> {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{TRACKER_API_SERVICE}");
        self.cluster_object(&path).await
    }

    /// Probes the tracker API by listing one tracker of the namespace within a time limit.
    pub async fn probe_trackers(&self, limit: Duration) -> Result<TrackerAvailability, Error> {
        let scope = Scope::Namespace(self.namespace().to_owned());
        let path = format!("{}?limit=1", Source::Trackers.path(&scope, None));
        let info = session_request(Verb::List, self.namespace(), None);
        let request = self.request::<Value>(&info, Method::GET, &path, None);
        let response = self.limited(limit, request).await;
        match response {
            Ok(_) => Ok(TrackerAvailability::Served),
            Err(error) => match FailureKind::from_error(&error) {
                FailureKind::NotServed => Ok(TrackerAvailability::Missing),
                FailureKind::Unavailable(reason) => Ok(TrackerAvailability::Unreachable(reason)),
                FailureKind::Forbidden | FailureKind::Other => Err(error),
            },
        }
    }

    /// Creates a Session as a server-side dry run and returns it.
    ///
    /// The dry run calls the webhook and stores nothing.
    pub async fn dry_run_create(&self) -> Result<Value, Error> {
        let scope = Scope::Namespace(self.namespace().to_owned());
        let path = format!("{}?dryRun=All", Source::Sessions.path(&scope, None));
        let session = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "Session",
            "metadata": { "generateName": "status-" },
            "spec": { "target": "targetless" },
        });
        let info = session_request(Verb::Create, self.namespace(), None);
        self.request(&info, Method::POST, &path, Some(&session)).await
    }

    async fn cluster_object(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.request(&cluster_request(Verb::Get), Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
