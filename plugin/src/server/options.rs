//! Options of requests: the scope, selectors, and how to delete.

use mirrord_sessions_crds::SessionId;
use serde_json::{Value, json};

use crate::error::{RequestInfo, Verb};

/// Namespaces that a request covers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All namespaces of the cluster.
    All,
    /// The namespace of this name.
    Namespace(String),
}

impl Scope {
    /// Returns the namespace, or `None` for all of them.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(name) => Some(name),
        }
    }
}

/// Options of list and watch requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListOptions {
    /// Namespaces whose sessions are listed.
    pub scope: Scope,
    /// Label selector, evaluated by the server.
    pub labels: Option<String>,
    /// Field selector, evaluated by the server.
    pub fields: Option<String>,
    /// Page size; 0 requests everything in one page.
    ///
    /// `None` begins with small pages and doubles them.
    pub chunk: Option<usize>,
}

impl ListOptions {
    /// Selects all sessions of a scope.
    #[must_use]
    pub fn in_scope(scope: Scope) -> Self {
        Self { scope, labels: None, fields: None, chunk: None }
    }

    /// Selects the sessions of a scope that have this name.
    #[must_use]
    pub fn by_name(scope: Scope, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..Self::in_scope(scope) }
    }

    /// Adds a condition to the field selector.
    #[must_use]
    pub fn with_field(mut self, condition: &str) -> Self {
        self.fields = Some(match self.fields {
            Some(fields) if !fields.is_empty() => format!("{fields},{condition}"),
            _ => condition.to_owned(),
        });
        self
    }

    /// Returns the query parameters of the selectors.
    pub(super) fn query(&self) -> Vec<(&'static str, &str)> {
        let labels = self.labels.as_deref().map(|labels| ("labelSelector", labels));
        let fields = self.fields.as_deref().map(|fields| ("fieldSelector", fields));
        labels.into_iter().chain(fields).collect()
    }
}

/// Selects between a real deletion and a server-side dry run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Deletes the session from the cluster.
    Real,
    /// Runs all checks without storing the result.
    DryRun,
}

/// Options of a delete request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeleteOptions<'a> {
    /// Real deletion or dry run.
    pub effect: Effect,
    /// Grace period in seconds, or `None` for the server's default.
    pub grace_period: Option<i64>,
    /// Precondition on the UID of the session.
    pub uid: Option<&'a str>,
}

impl DeleteOptions<'_> {
    /// Returns the body of the request.
    pub(super) fn to_body(self) -> Value {
        let mut body = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        if self.effect == Effect::DryRun {
            body["dryRun"] = json!(["All"]);
        }
        if let Some(seconds) = self.grace_period {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = self.uid {
            body["preconditions"] = json!({ "uid": uid });
        }
        body
    }
}

/// Describes a request about one session, or about all sessions of a namespace.
pub(super) fn session_request(verb: Verb, namespace: &str, id: Option<&SessionId>) -> RequestInfo {
    RequestInfo { verb, namespace: Some(namespace.to_owned()), id: id.cloned() }
}

/// Describes a request about a scope.
pub(super) fn scope_request(verb: Verb, scope: &Scope) -> RequestInfo {
    RequestInfo { namespace: scope.namespace().map(ToOwned::to_owned), ..cluster_request(verb) }
}

/// Describes a request about the whole cluster.
pub(super) fn cluster_request(verb: Verb) -> RequestInfo {
    RequestInfo { verb, namespace: None, id: None }
}
