//! A session of one's own: creating it, and reporting about it.

use http::Method;
use mirrord_sessions_crds::{Session, SessionId, SessionReportSpec};
use serde_json::{Value, json};

use super::{Scope, Server, Source, asked};
use crate::error::{Error, Verb};

impl Server {
    /// Creates a session; answers it as it is stored, and what the server warns of.
    pub async fn create(
        &self,
        namespace: &str,
        session: &Session,
    ) -> Result<(Value, Vec<String>), Error> {
        let path = Source::Sessions.path(&Scope::Namespace(namespace.to_owned()), None);
        let body = serde_json::to_value(session)
            .map_err(|error| Error::setup(format!("the session cannot be written: {error}")))?;
        self.request_warned(&asked(Verb::Create, namespace, None), Method::POST, &path, Some(&body))
            .await
    }

    /// Reports about a session.
    pub async fn report(
        &self,
        namespace: &str,
        id: &SessionId,
        report: &SessionReportSpec,
    ) -> Result<Value, Error> {
        let (version, _) = Source::Trackers.kind();
        let scope = Scope::Namespace(namespace.to_owned());
        let path = format!("{}/report", Source::Trackers.path(&scope, Some(id.name())));
        let body = json!({ "apiVersion": version, "kind": "SessionReport", "spec": report });
        self.request(&asked(Verb::Create, namespace, Some(id)), Method::POST, &path, Some(&body))
            .await
    }

    /// One session itself, whatever trackers show of it.
    pub async fn stored_session(&self, namespace: &str, id: &SessionId) -> Result<Value, Error> {
        let scope = Scope::Namespace(namespace.to_owned());
        let path = Source::Sessions.path(&scope, Some(id.name()));
        let asked = asked(Verb::Get, namespace, Some(id));
        self.request(&asked, Method::GET, &path, None).await
    }
}
