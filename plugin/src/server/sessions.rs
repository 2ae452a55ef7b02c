//! Requests about sessions: list, get, create, delete, join, report, and their Events.

use http::Method;
use mirrord_sessions_crds::SessionId;
#[cfg(unix)]
use mirrord_sessions_crds::{Session as SessionObject, SessionReportSpec};
use serde_json::{Value, json};

use super::{
    client::Server,
    options::{DeleteOptions, Effect, ListOptions, Scope, scope_request, session_request},
    pages::Pages,
    source::Source,
    url::encode,
};
use crate::{
    error::{Error, RequestInfo, Status, Verb},
    session::Session,
};

impl Server {
    /// Lists sessions page by page.
    pub async fn list(&self, options: &ListOptions) -> Result<Pages<'_>, Error> {
        let source = self.discover().await?.source;
        if source == Source::Operator {
            return Ok(Pages::from_items(self, self.operator_sessions(options).await?));
        }
        let info = scope_request(Verb::List, &options.scope);
        let path = source.path(&options.scope, None);
        let pages = Pages::new(self, info, &path, &options.query(), options.chunk);
        Ok(pages.with_kind(source.kind()))
    }

    /// Returns all sessions of the scope, or only those with this ID.
    pub async fn sessions(
        &self,
        scope: &Scope,
        id: Option<&SessionId>,
    ) -> Result<Vec<Value>, Error> {
        let is_operator = self.discover().await?.source == Source::Operator;
        let options = match id {
            // The operator's field selectors do not support names.
            Some(id) if !is_operator => ListOptions::by_name(scope.clone(), id.name()),
            _ => ListOptions::in_scope(scope.clone()),
        };
        let mut items = self.list(&options).await?.collect().await?;
        if let Some(id) = id {
            // Other implementations of the API may ignore the selector, or not name objects by ID.
            items.retain(|item| {
                let session = Session::from_object(item);
                session.name.eq_ignore_ascii_case(id.name())
            });
        }
        Ok(items)
    }

    /// Returns the sessions with this ID in all namespaces, at least one.
    pub async fn find(&self, id: &SessionId) -> Result<Vec<Value>, Error> {
        let sessions = self.sessions(&Scope::All, Some(id)).await?;
        if sessions.is_empty() {
            return Err(self.not_found(&Scope::All, id));
        }
        Ok(sessions)
    }

    /// Returns the error for a session that does not exist.
    #[must_use]
    pub fn not_found(&self, scope: &Scope, id: &SessionId) -> Error {
        let info = RequestInfo { id: Some(id.clone()), ..scope_request(Verb::Get, scope) };
        self.api_error(info, Status::not_found(id))
    }

    /// Returns the session of a name.
    pub async fn session(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let source = self.discover().await?.source;
        let scope = Scope::Namespace(namespace.to_owned());
        if source == Source::Operator {
            let mut sessions = self.sessions(&scope, Some(id)).await?;
            return sessions.pop().ok_or_else(|| self.not_found(&scope, id));
        }
        let info = session_request(Verb::Get, namespace, Some(id));
        let path = source.path(&scope, Some(id.name()));
        self.request(&info, Method::GET, &path, None).await
    }

    /// Returns the Session object itself instead of its tracker.
    #[cfg(unix)]
    pub async fn session_object(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let scope = Scope::Namespace(namespace.to_owned());
        let path = Source::Sessions.path(&scope, Some(id.name()));
        let info = session_request(Verb::Get, namespace, Some(id));
        self.request(&info, Method::GET, &path, None).await
    }

    /// Creates a session and returns the stored object.
    #[cfg(unix)]
    pub async fn create(&self, namespace: &str, session: &SessionObject) -> Result<Value, Error> {
        let path = Source::Sessions.path(&Scope::Namespace(namespace.to_owned()), None);
        let body = serde_json::to_value(session)
            .map_err(|error| Error::setup(format!("cannot serialize the session: {error}")))?;
        let info = session_request(Verb::Create, namespace, None);
        self.request(&info, Method::POST, &path, Some(&body)).await
    }

    /// Deletes a session and returns its UID, if the response has it.
    pub async fn delete(
        &self,
        namespace: &str,
        id: &SessionId,
        options: &DeleteOptions<'_>,
    ) -> Result<Option<String>, Error> {
        if self.discover().await?.source == Source::Operator {
            self.delete_operator_session(namespace, id, options).await?;
            return Ok(None);
        }
        let info = session_request(Verb::Delete, namespace, Some(id));
        let scope = Scope::Namespace(namespace.to_owned());
        let path = Source::Sessions.path(&scope, Some(id.name()));
        let response: Value =
            self.request(&info, Method::DELETE, &path, Some(&options.to_body())).await?;
        if options.effect == Effect::Real {
            check_finalizers(&response, namespace, id)?;
        }
        // The response is either the object or a Status with its details.
        let uid = response.pointer("/metadata/uid").or_else(|| response.pointer("/details/uid"));
        Ok(uid.and_then(Value::as_str).map(ToOwned::to_owned))
    }

    /// Deletes all sessions of a namespace and returns them, if the response has them.
    pub async fn delete_all(
        &self,
        namespace: &str,
        options: &DeleteOptions<'_>,
    ) -> Result<Option<Vec<Value>>, Error> {
        let info = session_request(Verb::DeleteCollection, namespace, None);
        let path = Source::Sessions.path(&Scope::Namespace(namespace.to_owned()), None);
        let response: Value =
            self.request(&info, Method::DELETE, &path, Some(&options.to_body())).await?;
        Ok(match response {
            Value::Object(mut list) => match list.remove("items") {
                Some(Value::Array(items)) => Some(items),
                _ => None,
            },
            _ => None,
        })
    }

    /// Joins a session as the user.
    pub async fn join(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let (version, _) = Source::Trackers.kind();
        let path = tracker_subresource(namespace, id, "join");
        let body = json!({ "apiVersion": version, "kind": "SessionJoin" });
        let info = session_request(Verb::Create, namespace, Some(id));
        self.request(&info, Method::POST, &path, Some(&body)).await
    }

    /// Sends a heartbeat report about a session.
    #[cfg(unix)]
    pub async fn report(
        &self,
        namespace: &str,
        id: &SessionId,
        report: &SessionReportSpec,
    ) -> Result<Value, Error> {
        let (version, _) = Source::Trackers.kind();
        let path = tracker_subresource(namespace, id, "report");
        let body = json!({ "apiVersion": version, "kind": "SessionReport", "spec": report });
        let info = session_request(Verb::Create, namespace, Some(id));
        self.request(&info, Method::POST, &path, Some(&body)).await
    }

    /// Returns the Events about a session.
    pub async fn events(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let info = session_request(Verb::List, namespace, None);
        let mut selector = format!(
            "involvedObject.kind=Session,involvedObject.name={name},involvedObject.namespace={namespace}"
        );
        if let Some(uid) = uid {
            selector.push_str(",involvedObject.uid=");
            selector.push_str(uid);
        }
        let path = format!("/api/v1/namespaces/{}/events", encode(namespace));
        self.list_objects(&info, &path, Some(&selector)).await
    }
}

fn tracker_subresource(namespace: &str, id: &SessionId, subresource: &str) -> String {
    let scope = Scope::Namespace(namespace.to_owned());
    format!("{}/{subresource}", Source::Trackers.path(&scope, Some(id.name())))
}

/// Checks that no finalizer delays the deletion, given the response of the delete request.
///
/// The API server returns the object itself as long as it has finalizers.
///
/// # Errors
/// Fails with the finalizers that the object still has.
pub fn check_finalizers(response: &Value, namespace: &str, id: &SessionId) -> Result<(), Error> {
    let finalizers = response.pointer("/metadata/finalizers").and_then(Value::as_array);
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
