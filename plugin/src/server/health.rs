//! What tells how mirrord-sessions is doing on a cluster.

use http::Method;
use mirrord_sessions_crds::{GROUP, SYSTEM_NAMESPACE, TRACKER_API_SERVICE, WEBHOOK_NAME};
use serde_json::{Value, json};

use super::{Scope, Server, Source, everywhere};
use crate::error::{Error, RequestInfo, Verb};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// What became of a request for trackers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trackers {
    /// They were listed.
    Served,
    /// The cluster doesn't know them.
    Missing,
    /// The API server doesn't reach who serves them, and why.
    Unreachable(String),
}

impl Server {
    /// The configuration by which the API server asks the webhook.
    pub async fn webhook_configuration(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/mutatingwebhookconfigurations/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// The configuration by which the API server asks the webhook who may stop a Session.
    pub async fn stopping(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingwebhookconfigurations/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// The list of the cluster's admission policies, guards among them.
    pub async fn policies(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingadmissionpolicies");
        self.cluster_object(&path).await
    }

    /// The list of what puts them in force.
    pub async fn policy_bindings(&self) -> Result<Option<Value>, Error> {
        let path = format!("{ADMISSION}/validatingadmissionpolicybindings");
        self.cluster_object(&path).await
    }

    /// The webhook's Deployment.
    pub async fn deployment(&self) -> Result<Option<Value>, Error> {
        let path =
            format!("/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}/deployments/{WEBHOOK_NAME}");
        self.cluster_object(&path).await
    }

    /// How the API server reaches session trackers.
    pub async fn api_service(&self) -> Result<Option<Value>, Error> {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{TRACKER_API_SERVICE}");
        self.cluster_object(&path).await
    }

    /// Asks for a page of trackers of the namespace.
    pub async fn try_trackers(&self) -> Result<Trackers, Error> {
        let scope = Scope::Namespace(self.namespace().to_owned());
        let path = format!("{}?limit=1", Source::Trackers.path(&scope, None));
        let answer: Result<Value, Error> =
            self.request(&self.here(Verb::List), Method::GET, &path, None).await;
        match answer {
            Ok(_) => Ok(Trackers::Served),
            Err(error) => match error.api_error() {
                Some(api_error) if api_error.is_not_installed() => Ok(Trackers::Missing),
                // As text where the aggregator has nobody to ask.
                Some(api_error) if api_error.status.code == 503 => {
                    Ok(Trackers::Unreachable(api_error.status.message.trim().to_owned()))
                }
                _ => Err(error),
            },
        }
    }

    /// Has the API server try to create a Session, which asks the webhook and stores nothing;
    /// answers the Session as it would have been stored.
    pub async fn try_session(&self) -> Result<Value, Error> {
        let scope = Scope::Namespace(self.namespace().to_owned());
        let path = format!("{}?dryRun=All", Source::Sessions.path(&scope, None));
        let session = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "Session",
            "metadata": { "generateName": "status-" },
            "spec": { "target": "targetless" },
        });
        self.request(&self.here(Verb::Create), Method::POST, &path, Some(&session)).await
    }

    fn here(&self, verb: Verb) -> RequestInfo {
        RequestInfo { namespace: Some(self.namespace().to_owned()), ..everywhere(verb) }
    }

    async fn cluster_object(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.request(&everywhere(Verb::Get), Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
