//! Routes of the aggregated API.
//!
//! The API is read-only by construction: the only routes are GET, and POST to two subresources.

use std::sync::Arc;

use http::{Method, request::Parts};
use http_body::Body;
use kube::Client;
use mirrord_sessions_core::{
    apiserver::{
        AllowedMethod, ApiError, ReportPeriod, Subresource,
        content_negotiation::{self, ResponseKind},
        filter::Filter,
        list,
        options::{self, ListOptions},
        render::{self, RenderItem, RenderOptions},
    },
    identity::Requester,
    policy::{JoinRights, Verb},
    sessions::TrackerKey,
};
use mirrord_sessions_crds::{SessionId, TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use tokio::sync::watch;

use super::{
    discovery, front_proxy::FrontProxy, headers, list_budget::ListMemoryBudget, responses,
};
use crate::{
    clock::unix_now,
    server::{
        ClientConnection,
        body::{BODY_TIMEOUT, Bodies},
        client_certificates::PeerCertificates,
        response::Response,
    },
    sessions::{join_rights::JoinAuthorizer, store::Store},
};

/// Serves the aggregated API.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    front_proxy: Arc<FrontProxy>,
    pub(crate) join_authorizer: Arc<JoinAuthorizer>,
    /// Separate from the budget of admission, which must not wait for slow uploads of users.
    pub(crate) bodies: Arc<Bodies>,
    list_budget: Arc<ListMemoryBudget>,
    pub(crate) client: Client,
    pub(crate) report_period: ReportPeriod,
}

/// Resource that a path names.
enum Resource<'a> {
    /// The trackers of a namespace, or of all namespaces.
    List(Option<&'a str>),
    /// Namespace and name.
    Tracker(&'a str, &'a str),
    Subresource(&'a str, &'a str, Subresource),
}

impl Api {
    pub(crate) fn new(
        store: Arc<Store>,
        front_proxy: Arc<FrontProxy>,
        join_authorizer: Arc<JoinAuthorizer>,
        client: Client,
    ) -> Self {
        Self {
            store,
            front_proxy,
            join_authorizer,
            client,
            bodies: Arc::new(Bodies::new(BODY_TIMEOUT)),
            list_budget: Arc::new(ListMemoryBudget::new()),
            report_period: ReportPeriod::default(),
        }
    }

    /// Sets the period in which clients report their sessions.
    pub(crate) fn with_report_period(mut self, period: ReportPeriod) -> Self {
        self.report_period = period;
        self
    }

    /// Returns whether a path belongs to the aggregated API.
    pub(crate) fn serves(path: &str) -> bool {
        path == "/version"
            || path == "/apis"
            || path.starts_with("/apis/")
            || path.starts_with("/openapi/")
    }

    /// Handles a request to the aggregated API.
    ///
    /// Every request must come from the aggregator, including requests for discovery documents.
    pub(crate) async fn handle<B>(
        &self,
        head: &Parts,
        body: B,
        peer: Option<&PeerCertificates>,
    ) -> Response
    where
        B: Body,
        B::Error: std::error::Error,
    {
        // Subscribe before the check, so that no change in between is missed.
        let front_proxy_changes = self.front_proxy.watch_changes();
        let requester = self.front_proxy.authenticate(peer, &head.headers);
        if let Some(client) = head.extensions.get::<Arc<ClientConnection>>() {
            client.set_trusted(requester.is_some());
        }
        let Some(requester) = requester else {
            return responses::error_response(&ApiError::unauthorized());
        };
        match self.route(head, body, &Arc::new(requester), front_proxy_changes).await {
            Ok(response) => response,
            Err(error) => responses::error_response(&error),
        }
    }

    async fn route<B>(
        &self,
        head: &Parts,
        body: B,
        requester: &Arc<Requester>,
        front_proxy_changes: watch::Receiver<()>,
    ) -> Result<Response, ApiError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let path = head.uri.path();
        match (parse_path(path), &head.method) {
            (Some(Resource::Tracker(namespace, name)), &Method::GET) => {
                self.get(head, requester, namespace, name).await
            }
            (Some(Resource::List(namespace)), &Method::GET) => {
                let options = ListOptions::parse(head.uri.query().unwrap_or_default())?;
                let filter = Filter::new(namespace, &options);
                if options.watch {
                    self.watch(head, requester, filter, &options, front_proxy_changes).await
                } else {
                    self.list(head, requester, &filter, &options).await
                }
            }
            (Some(Resource::Subresource(namespace, name, subresource)), &Method::POST) => {
                self.create(head, body, requester, (namespace, name), subresource).await
            }
            (Some(Resource::Subresource(..)), _) => {
                Err(ApiError::method_not_allowed(AllowedMethod::Post))
            }
            (Some(_), _) => Err(ApiError::method_not_allowed(AllowedMethod::Get)),
            (None, &Method::GET) => discovery::handle(head).await,
            (None, _) => Err(ApiError::path_not_found()),
        }
    }

    async fn get(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        namespace: &str,
        name: &str,
    ) -> Result<Response, ApiError> {
        let (version, include) = options::parse_get(head.uri.query().unwrap_or_default())?;
        let (encoding, representation) =
            content_negotiation::negotiate(headers::accept(&head.headers), ResponseKind::Object)?;
        self.store.wait_for_version(version.minimum()).await?;
        let not_found = || ApiError::tracker_not_found(name);
        // Session ids are displayed in upper case.
        let id: SessionId = name.parse().map_err(|_| not_found())?;
        let key = TrackerKey { namespace: namespace.into(), name: id.name().into() };
        let read = |rights: JoinRights| {
            let viewer = self.store.policies()?.viewer(requester, rights);
            if let Some(reason) = viewer.forbidden_reason(Verb::Read) {
                return Err(ApiError::forbidden(&requester.username, "get", &reason));
            }
            let tracker = self.store.index().get(&key).cloned();
            // A hidden tracker must look like a missing one.
            let tracker = tracker
                .filter(|tracker| viewer.may(Verb::Read, &tracker.view()))
                .ok_or_else(not_found)?;
            let revealed = !tracker.has_secrets() || viewer.reveals(&tracker.view());
            let needs_review = !revealed && viewer.may(Verb::Join, &tracker.view());
            Ok((tracker, revealed, needs_review))
        };
        let (mut tracker, mut revealed, needs_review) = read(JoinRights::Nowhere)?;
        if needs_review {
            let rights = if self.join_authorizer.may_join(requester, Some(namespace)).await {
                JoinRights::Everywhere
            } else {
                JoinRights::Nowhere
            };
            // Read again, since tracker and policies may have changed during the review.
            (tracker, revealed, _) = read(rights)?;
        }
        let item = RenderItem { tracker: &tracker, revealed, version: None };
        let render_options = RenderOptions { representation, include, now: unix_now() };
        let mut out = Vec::new();
        render::tracker(&mut out, item, render_options, true);
        out.push(b'\n');
        Ok(responses::encode(&head.headers, encoding, out).await)
    }

    async fn list(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        filter: &Filter,
        options: &ListOptions,
    ) -> Result<Response, ApiError> {
        let (encoding, representation) =
            content_negotiation::negotiate(headers::accept(&head.headers), ResponseKind::List)?;
        let policies = self.store.policies()?;
        let viewer = policies.viewer(requester, JoinRights::Nowhere);
        if let Some(reason) = viewer.forbidden_reason(Verb::List) {
            return Err(ApiError::forbidden(&requester.username, "list", &reason));
        }
        self.store.wait_for_version(options.version.minimum()).await?;
        let reviewed = self
            .join_authorizer
            .join_rights(requester, &policies, &self.store, filter.namespace.as_deref())
            .await;
        // The policies may have changed since. Only the active ones count.
        let viewer = self.store.policies()?.viewer(requester, reviewed.rights);
        if let Some(reason) = viewer.forbidden_reason(Verb::List) {
            return Err(ApiError::forbidden(&requester.username, "list", &reason));
        }
        let page = list::list(&self.store.index(), filter, options, &viewer)?;
        let render_options =
            RenderOptions { representation, include: options.include, now: unix_now() };
        let permit = self.list_budget.acquire(render::estimated_size(&page)).await?;
        let json = render::list(&page, render_options);
        let response = responses::encode(&head.headers, encoding, json).await;
        Ok(permit.hold_until_sent(response))
    }
}

/// Returns the resource that a path names.
///
/// Namespaces and names need no decoding, since they hold no character that is percent-encoded.
fn parse_path(path: &str) -> Option<Resource<'_>> {
    let rest = path.strip_prefix("/apis/")?.strip_prefix(TRACKER_GROUP)?;
    let rest = rest.strip_prefix('/')?.strip_prefix(TRACKER_VERSION)?;
    let parts: Vec<&str> = rest.strip_prefix('/')?.split('/').collect();
    match parts[..] {
        [TRACKERS] => Some(Resource::List(None)),
        ["namespaces", namespace, TRACKERS] if !namespace.is_empty() => {
            Some(Resource::List(Some(namespace)))
        }
        ["namespaces", namespace, TRACKERS, name] if !namespace.is_empty() && !name.is_empty() => {
            Some(Resource::Tracker(namespace, name))
        }
        ["namespaces", namespace, TRACKERS, name, subresource]
            if !namespace.is_empty() && !name.is_empty() =>
        {
            let subresource = Subresource::from_name(subresource)?;
            Some(Resource::Subresource(namespace, name, subresource))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
pub(crate) mod tests;
