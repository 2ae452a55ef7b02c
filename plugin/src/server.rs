//! The API server, as far as this plugin speaks to it.

mod connect;
mod health;
mod in_cluster;
mod kubeconfig;
mod log;
mod names;
mod operator;
#[cfg(unix)]
mod own;
mod pages;
mod proxy;
mod roles;
mod source;
mod warning;
mod watch;
mod wire;

use std::time::Duration;

use http::Method;
use mirrord_sessions_crds::SessionId;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use connect::Connection;
pub use health::Trackers;
pub use names::Names;
pub use operator::bare;
pub use pages::Pages;
pub use roles::Everything;
pub use source::{Found, Source};
pub use watch::{Change, Event, Watch};

use self::wire::encoded;
use crate::{
    error::{Error, RequestInfo, Status, Verb},
    session::Session,
};

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

/// Which sessions are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// Where.
    pub scope: Scope,
    /// Conditions on labels, for the server to check.
    pub labels: Option<String>,
    /// Conditions on fields, for the server to check.
    pub fields: Option<String>,
    /// At most so many at a time, all at once if it is 0; few at first and then more if nobody
    /// says.
    pub chunk: Option<usize>,
}

impl Listing {
    /// All of a scope.
    #[must_use]
    pub fn of(scope: Scope) -> Self {
        Self { scope, labels: None, fields: None, chunk: None }
    }

    /// The session of this name, wherever in the scope.
    #[must_use]
    pub fn named(scope: Scope, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..Self::of(scope) }
    }

    /// One condition more on fields.
    #[must_use]
    pub fn and(mut self, condition: &str) -> Self {
        self.fields = Some(match self.fields {
            Some(fields) if !fields.is_empty() => format!("{fields},{condition}"),
            _ => condition.to_owned(),
        });
        self
    }

    fn query(&self) -> Vec<(&'static str, &str)> {
        let labels = self.labels.as_deref().map(|labels| ("labelSelector", labels));
        let fields = self.fields.as_deref().map(|fields| ("fieldSelector", fields));
        labels.into_iter().chain(fields).collect()
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

/// How sessions are deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deletion<'a> {
    /// Whether for good.
    pub effect: Effect,
    /// Seconds to let it end in; left to the server if there are none.
    pub grace_period: Option<i64>,
    /// Only the session of this uid.
    pub uid: Option<&'a str>,
}

impl Deletion<'_> {
    fn options(&self) -> Value {
        let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        if self.effect == Effect::DryRun {
            options["dryRun"] = json!(["All"]);
        }
        if let Some(seconds) = self.grace_period {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = self.uid {
            options["preconditions"] = json!({ "uid": uid });
        }
        options
    }
}

/// A connection to the API server.
pub struct Server {
    client: kube::Client,
    host: String,
    credentials: String,
    namespace: String,
    timeout: Option<Duration>,
    log: log::Log,
    found: OnceCell<Found>,
}

impl Server {
    /// The namespace that commands work in when none is named.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The sessions of a listing, page by page.
    pub async fn listing(&self, listing: &Listing) -> Result<Pages<'_>, Error> {
        let source = self.source().await?.source;
        let asked = Self::asked_of(Verb::List, &listing.scope);
        if source == Source::Operator {
            return Ok(Pages::of(self, self.operators_sessions(listing).await?));
        }
        let path = source.path(&listing.scope, None);
        Ok(Pages::new(self, asked, &path, &listing.query(), listing.chunk).of_kind(source.kind()))
    }

    /// All the sessions of the scope; or only those of one id.
    pub async fn sessions(
        &self,
        scope: &Scope,
        id: Option<&SessionId>,
    ) -> Result<Vec<Value>, Error> {
        let is_operators = self.source().await?.source == Source::Operator;
        let listing = match id {
            // Its selectors know nothing of names.
            Some(id) if !is_operators => Listing::named(scope.clone(), id.name()),
            _ => Listing::of(scope.clone()),
        };
        let mut items = self.listing(&listing).await?.all().await?;
        if let Some(id) = id {
            // Who serves sessions in another way may not know the selector, nor name objects by
            // IDs.
            items.retain(|item| {
                let session = Session::of_object(item);
                session.name.eq_ignore_ascii_case(id.name())
            });
        }
        Ok(items)
    }

    /// The sessions of an id, in whichever namespaces; at least one.
    pub async fn find(&self, id: &SessionId) -> Result<Vec<Value>, Error> {
        let found = self.sessions(&Scope::All, Some(id)).await?;
        if found.is_empty() {
            return Err(self.not_found(&Scope::All, id));
        }
        Ok(found)
    }

    /// There is no such session.
    #[must_use]
    pub fn not_found(&self, scope: &Scope, id: &SessionId) -> Error {
        let asked = RequestInfo { id: Some(id.clone()), ..Self::asked_of(Verb::Get, scope) };
        self.refused(asked, Status::not_found(id))
    }

    /// One session.
    pub async fn session(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let source = self.source().await?.source;
        let scope = Scope::Namespace(namespace.to_owned());
        if source == Source::Operator {
            let mut found = self.sessions(&scope, Some(id)).await?;
            return found.pop().ok_or_else(|| self.not_found(&scope, id));
        }
        let asked = asked(Verb::Get, namespace, Some(id));
        let path = source.path(&scope, Some(id.name()));
        self.request(&asked, Method::GET, &path, None).await
    }

    /// Deletes one session; answers its uid, if the server tells.
    pub async fn delete(
        &self,
        namespace: &str,
        id: &SessionId,
        how: &Deletion<'_>,
    ) -> Result<Option<String>, Error> {
        if self.source().await?.source == Source::Operator {
            self.end_operators(namespace, id, how).await?;
            return Ok(None);
        }
        let asked = asked(Verb::Delete, namespace, Some(id));
        let scope = Scope::Namespace(namespace.to_owned());
        let path = Source::Sessions.path(&scope, Some(id.name()));
        let answer: Value =
            self.request(&asked, Method::DELETE, &path, Some(&how.options())).await?;
        if how.effect == Effect::Real {
            gone(&answer, namespace, id)?;
        }
        // The object, or a Status with what is known of it.
        let uid = answer.pointer("/metadata/uid").or_else(|| answer.pointer("/details/uid"));
        Ok(uid.and_then(Value::as_str).map(ToOwned::to_owned))
    }

    /// Deletes all the sessions of a namespace; answers those that were, if the server tells.
    pub async fn delete_all(
        &self,
        namespace: &str,
        how: &Deletion<'_>,
    ) -> Result<Option<Vec<Value>>, Error> {
        let asked = asked(Verb::DeleteCollection, namespace, None);
        let path = Source::Sessions.path(&Scope::Namespace(namespace.to_owned()), None);
        let answer: Value =
            self.request(&asked, Method::DELETE, &path, Some(&how.options())).await?;
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
        self.request(&everywhere(Verb::Get), Method::GET, "/version", None).await
    }

    /// Who the server takes the requester for.
    pub async fn whoami(&self) -> Result<String, Error> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let review: Value =
            self.request(&everywhere(Verb::Create), Method::POST, path, Some(&review)).await?;
        let name = review.pointer("/status/userInfo/username");
        let name = name.and_then(Value::as_str).map(ToOwned::to_owned);
        name.ok_or_else(|| Error::Unexpected {
            host: self.host.clone(),
            what: "a SelfSubjectReview without a user".to_owned(),
        })
    }

    /// Joins a session.
    pub async fn join(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let (version, _) = Source::Trackers.kind();
        let scope = Scope::Namespace(namespace.to_owned());
        let path = format!("{}/join", Source::Trackers.path(&scope, Some(id.name())));
        let request = json!({ "apiVersion": version, "kind": "SessionJoin" });
        self.request(&asked(Verb::Create, namespace, Some(id)), Method::POST, &path, Some(&request))
            .await
    }
}

/// Whether a session that was deleted is gone, by the object that the server answers: it answers
/// the object of one that finalizers hold up.
///
/// # Errors
/// It is held up.
pub fn gone(answer: &Value, namespace: &str, id: &SessionId) -> Result<(), Error> {
    let finalizers = answer.pointer("/metadata/finalizers").and_then(Value::as_array);
    let finalizers: Vec<&str> =
        finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
    if finalizers.is_empty() {
        return Ok(());
    }
    Err(Error::Held {
        id: id.clone(),
        namespace: namespace.to_owned(),
        finalizers: finalizers.join(", "),
    })
}

fn asked(verb: Verb, namespace: &str, id: Option<&SessionId>) -> RequestInfo {
    RequestInfo { verb, namespace: Some(namespace.to_owned()), id: id.cloned() }
}

fn everywhere(verb: Verb) -> RequestInfo {
    RequestInfo { verb, namespace: None, id: None }
}
