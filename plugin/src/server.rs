//! The API server, as far as this plugin speaks to it.

mod connect;
mod in_cluster;
mod kubeconfig;
mod log;
mod proxy;
mod roles;
mod wire;

use std::time::Duration;

use http::Method;
use mirrord_sessions_crds::{GROUP, SessionId};
use serde_json::{Value, json};

pub use connect::Connection;
pub use roles::Everything;

use self::wire::encoded;
use crate::error::{Asked, Error, Failure, Refusal, Verb};

/// Where sessions are looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// In all namespaces.
    All,
    /// In one namespace.
    Namespace(String),
}

impl Scope {
    /// The namespace, unless it is all of them.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(name) => Some(name),
        }
    }
}

/// Whether a deletion is carried out, or only tried by the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// For good.
    Real,
    /// All the checks, and nothing else.
    DryRun,
}

/// A connection to the API server.
pub struct Server {
    client: kube::Client,
    host: String,
    credentials: String,
    namespace: String,
    timeout: Option<Duration>,
    log: log::Log,
}

impl Server {
    /// The namespace that commands work in when none is named.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// All the sessions of the scope, page by page; or only those of one id.
    pub async fn sessions(
        &self,
        scope: &Scope,
        id: Option<&SessionId>,
    ) -> Result<Vec<Value>, Error> {
        let asked = Asked {
            verb: Verb::List,
            namespace: scope.namespace().map(ToOwned::to_owned),
            id: id.cloned(),
        };
        let selector = id.map(|id| format!("metadata.name={}", id.name()));
        let path = sessions_path(scope.namespace(), None);
        let mut items = self.pages(&asked, &path, selector.as_deref()).await?;
        for item in &mut items {
            // The items of a list may go without, and `kubectl apply` needs them.
            if let Some(item) = item.as_object_mut() {
                item.entry("apiVersion")
                    .or_insert_with(|| json!(format!("{GROUP}/v1")));
                item.entry("kind").or_insert_with(|| json!("Session"));
            }
        }
        Ok(items)
    }

    /// The sessions of an id, in whichever namespaces; at least one.
    pub async fn find(&self, id: &SessionId) -> Result<Vec<Value>, Error> {
        let mut found = self.sessions(&Scope::All, Some(id)).await?;
        // Who serves sessions in another way may not know the selector.
        found.retain(|item| {
            item.pointer("/metadata/name").and_then(Value::as_str) == Some(id.name())
        });
        if found.is_empty() {
            let asked = Asked {
                id: Some(id.clone()),
                ..everywhere(Verb::List)
            };
            return Err(self.refused(asked, Failure::not_found(id)));
        }
        Ok(found)
    }

    /// One session.
    pub async fn session(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let asked = asked(Verb::Get, namespace, Some(id));
        let path = sessions_path(Some(namespace), Some(id));
        self.request(&asked, Method::GET, &path, None).await
    }

    /// Deletes one session.
    pub async fn delete(
        &self,
        namespace: &str,
        id: &SessionId,
        effect: Effect,
    ) -> Result<(), Error> {
        let asked = asked(Verb::Delete, namespace, Some(id));
        let path = sessions_path(Some(namespace), Some(id));
        let options = delete_options(effect);
        let answer: Value = self
            .request(&asked, Method::DELETE, &path, Some(&options))
            .await?;
        match effect {
            Effect::Real => gone(&answer, namespace, id),
            Effect::DryRun => Ok(()),
        }
    }

    /// Deletes all the sessions of a namespace; answers those that were, if the server tells.
    pub async fn delete_all(
        &self,
        namespace: &str,
        effect: Effect,
    ) -> Result<Option<Vec<Value>>, Error> {
        let asked = asked(Verb::DeleteCollection, namespace, None);
        let path = sessions_path(Some(namespace), None);
        let options = delete_options(effect);
        let answer: Value = self
            .request(&asked, Method::DELETE, &path, Some(&options))
            .await?;
        Ok(match answer {
            Value::Object(mut list) => match list.remove("items") {
                Some(Value::Array(items)) => Some(items),
                _ => None,
            },
            _ => None,
        })
    }

    /// The Events about an object.
    pub async fn events(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let asked = asked(Verb::List, namespace, None);
        let mut selector = format!(
            "involvedObject.kind=Session,involvedObject.name={name},involvedObject.namespace={namespace}"
        );
        if let Some(uid) = uid {
            selector.push_str(",involvedObject.uid=");
            selector.push_str(uid);
        }
        let path = format!("/api/v1/namespaces/{}/events", encoded(namespace));
        self.pages(&asked, &path, Some(&selector)).await
    }

    /// Kubernetes' version, as `/version` tells it.
    pub async fn version(&self) -> Result<Value, Error> {
        self.request(&everywhere(Verb::Get), Method::GET, "/version", None)
            .await
    }

    /// Whether the server has Sessions.
    pub async fn has_sessions(&self) -> Result<bool, Error> {
        let path = format!("/apis/{GROUP}/v1");
        let found = self
            .request::<Value>(&everywhere(Verb::Get), Method::GET, &path, None)
            .await;
        match found {
            Ok(found) => Ok(found["resources"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["name"] == "sessions"))),
            Err(error) if error.refusal().is_some_and(Refusal::is_not_installed) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether a session that was deleted is gone, by the object that the server answers: it answers the
/// object of one that finalizers hold up.
///
/// # Errors
/// It is held up.
pub fn gone(answer: &Value, namespace: &str, id: &SessionId) -> Result<(), Error> {
    let finalizers = answer
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    let finalizers: Vec<&str> = finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if finalizers.is_empty() {
        return Ok(());
    }
    Err(Error::Held {
        id: id.clone(),
        namespace: namespace.to_owned(),
        finalizers: finalizers.join(", "),
    })
}

fn asked(verb: Verb, namespace: &str, id: Option<&SessionId>) -> Asked {
    Asked {
        verb,
        namespace: Some(namespace.to_owned()),
        id: id.cloned(),
    }
}

fn everywhere(verb: Verb) -> Asked {
    Asked {
        verb,
        namespace: None,
        id: None,
    }
}

fn delete_options(effect: Effect) -> Value {
    let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
    if effect == Effect::DryRun {
        options["dryRun"] = json!(["All"]);
    }
    options
}

fn sessions_path(namespace: Option<&str>, id: Option<&SessionId>) -> String {
    let mut path = format!("/apis/{GROUP}/v1");
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.push_str(&encoded(namespace));
    }
    path.push_str("/sessions");
    if let Some(id) = id {
        path.push('/');
        path.push_str(&encoded(id.name()));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place_in_a_path() {
        let id = SessionId::of_name("../../secrets/x?y");
        assert_eq!(
            sessions_path(Some("a/b"), Some(&id)),
            "/apis/operator.metalbear.co/v1/namespaces/a%2Fb/sessions/..%2F..%2Fsecrets%2Fx%3Fy"
        );
        assert_eq!(
            sessions_path(None, None),
            "/apis/operator.metalbear.co/v1/sessions"
        );
        assert_eq!(encoded("metadata.name=é"), "metadata.name%3D%C3%A9");
    }
}
