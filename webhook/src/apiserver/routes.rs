//! The paths of the aggregated API. Read-only by construction: nothing but GET leads anywhere, and
//! POST to two subresources.

use std::sync::Arc;

use http::{HeaderMap, Method, header::ACCEPT, request::Parts};
use http_body::Body;
use kube::Client;
use mirrord_sessions_core::{
    apiserver::{
        Failure, Pace, Subresource,
        accept::{self, Target},
        filter::Filter,
        options::{self, ListOptions},
        render::{self, Look, Shown},
    },
    identity::Requester,
    policy::{JoinRights, Verb},
    sessions::Key,
};
use mirrord_sessions_crds::{SessionId, TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use tokio::sync::watch;

use super::{
    discovery, front_proxy::FrontProxy, list_budget::Answers, responses, watch_stream::now,
};
use crate::server::{
    body::{BODY_TIMEOUT, Bodies},
    client_certificates::PeerCertificates,
    response::Response,
};
use crate::sessions::{
    join_rights::{Asked, Rights},
    store::Store,
};

/// The aggregated API.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    front_proxy: Arc<FrontProxy>,
    pub(crate) rights: Arc<Rights>,
    /// Apart from those of admission, which must not wait for what a user sends slowly.
    pub(crate) bodies: Arc<Bodies>,
    answers: Arc<Answers>,
    pub(crate) client: Client,
    pub(crate) pace: Pace,
}

/// What a path is about.
enum Resource<'a> {
    List(Option<&'a str>),
    One(&'a str, &'a str),
    Create(&'a str, &'a str, Subresource),
}

impl Api {
    pub(crate) fn new(
        store: Arc<Store>,
        front_proxy: Arc<FrontProxy>,
        rights: Arc<Rights>,
        client: Client,
    ) -> Self {
        Self {
            store,
            front_proxy,
            rights,
            client,
            bodies: Arc::new(Bodies::new(BODY_TIMEOUT)),
            answers: Arc::new(Answers::new()),
            pace: Pace::default(),
        }
    }

    /// The same, with reports at another pace.
    pub(crate) fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Whether a path is the aggregated API's.
    pub(crate) fn serves(path: &str) -> bool {
        path == "/version"
            || path == "/apis"
            || path.starts_with("/apis/")
            || path.starts_with("/openapi/")
    }

    /// Answers a request. Nobody but the aggregator gets anything, documents neither.
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
        // Before it is looked at: what changes from here on is noticed.
        let believed = self.front_proxy.changes();
        let Some(requester) = self.front_proxy.requester(peer, &head.headers) else {
            return responses::failure(&Failure::unauthorized());
        };
        match self.route(head, body, &Arc::new(requester), believed).await {
            Ok(answer) => answer,
            Err(failure) => responses::failure(&failure),
        }
    }

    async fn route<B>(
        &self,
        head: &Parts,
        body: B,
        requester: &Arc<Requester>,
        believed: watch::Receiver<()>,
    ) -> Result<Response, Failure>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let path = head.uri.path();
        match (resource(path), &head.method) {
            (Some(Resource::One(namespace, name)), &Method::GET) => {
                self.get(head, requester, namespace, name).await
            }
            (Some(Resource::List(namespace)), &Method::GET) => {
                let options = ListOptions::parse(head.uri.query().unwrap_or_default())?;
                let filter = Filter::new(namespace, &options);
                if options.watch {
                    self.watch(head, requester, filter, &options, believed).await
                } else {
                    self.list(head, requester, &filter, &options).await
                }
            }
            (Some(Resource::Create(namespace, name, subresource)), &Method::POST) => {
                self.create(head, body, requester, (namespace, name), subresource).await
            }
            (Some(Resource::Create(..)), _) => Err(Failure::method_not_allowed(true)),
            (Some(_), _) => Err(Failure::method_not_allowed(false)),
            (None, &Method::GET) => discovery::answer(head).await,
            (None, _) => Err(Failure::no_such_path()),
        }
    }

    async fn get(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        namespace: &str,
        name: &str,
    ) -> Result<Response, Failure> {
        let (version, include) = options::get(head.uri.query().unwrap_or_default())?;
        let (encoding, shape) = accept::negotiate(accepts(&head.headers), Target::Object)?;
        self.store.wait_for(version).await?;
        let not_found = || Failure::no_such_tracker(name);
        // People type ids in upper case.
        let id: SessionId = name.parse().map_err(|_| not_found())?;
        let key = Key { namespace: namespace.into(), name: id.name().into() };
        let seen = |joins: JoinRights| {
            let viewer = self.store.policies()?.viewer(requester, joins);
            if let Some(why) = viewer.refuses(Verb::Read) {
                return Err(Failure::forbidden(&requester.username, "get", &why));
            }
            let tracker = self.store.index().get(&key).cloned();
            // One that is hidden is as one that isn't there.
            let tracker = tracker
                .filter(|tracker| viewer.may(Verb::Read, &tracker.view()))
                .ok_or_else(not_found)?;
            let revealed = !tracker.has_secrets() || viewer.reveals(&tracker.view());
            let asks = !revealed && viewer.may(Verb::Join, &tracker.view());
            Ok((tracker, revealed, asks))
        };
        let (mut tracker, mut revealed, asks) = seen(JoinRights::Nowhere)?;
        if asks {
            let joins = if self.rights.may(requester, Some(namespace)).await {
                JoinRights::Everywhere
            } else {
                JoinRights::Nowhere
            };
            // As it is by now, and by those that decide now.
            (tracker, revealed, _) = seen(joins)?;
        }
        let shown = Shown { tracker: &tracker, revealed, version: None };
        let look = Look { shape, include, now: now() };
        let mut out = Vec::new();
        render::one(&mut out, shown, look, true);
        out.push(b'\n');
        Ok(responses::json(&head.headers, encoding, out).await)
    }

    async fn list(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        filter: &Filter,
        options: &ListOptions,
    ) -> Result<Response, Failure> {
        let (encoding, shape) = accept::negotiate(accepts(&head.headers), Target::List)?;
        let policies = self.store.policies()?;
        let viewer = policies.viewer(requester, JoinRights::Nowhere);
        if let Some(why) = viewer.refuses(Verb::List) {
            return Err(Failure::forbidden(&requester.username, "list", &why));
        }
        self.store.wait_for(options.version).await?;
        let Asked { joins, .. } =
            self.rights.of(requester, &policies, &self.store, filter.namespace.as_deref()).await;
        // Those that decide now, not when this began: by others nothing is told any more.
        let viewer = self.store.policies()?.viewer(requester, joins);
        if let Some(why) = viewer.refuses(Verb::List) {
            return Err(Failure::forbidden(&requester.username, "list", &why));
        }
        let page = self.store.index().list(filter, options, &viewer)?;
        let look = Look { shape, include: options.include, now: now() };
        let budgeted = self.answers.share(render::size(&page)).await?;
        let json = render::list(&page, look);
        let answer = responses::json(&head.headers, encoding, json).await;
        Ok(budgeted.until_sent(answer))
    }
}

/// All `Accept` headers as one.
pub(crate) fn accepts(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok())
}

/// The trackers that a path means. Namespaces and names need no decoding: they hold nothing that is
/// encoded.
fn resource(path: &str) -> Option<Resource<'_>> {
    let rest = path.strip_prefix("/apis/")?.strip_prefix(TRACKER_GROUP)?;
    let rest = rest.strip_prefix('/')?.strip_prefix(TRACKER_VERSION)?;
    let parts: Vec<&str> = rest.strip_prefix('/')?.split('/').collect();
    match parts[..] {
        [TRACKERS] => Some(Resource::List(None)),
        ["namespaces", namespace, TRACKERS] if !namespace.is_empty() => {
            Some(Resource::List(Some(namespace)))
        }
        ["namespaces", namespace, TRACKERS, name] if !namespace.is_empty() && !name.is_empty() => {
            Some(Resource::One(namespace, name))
        }
        ["namespaces", namespace, TRACKERS, name, subresource]
            if !namespace.is_empty() && !name.is_empty() =>
        {
            let subresource = Subresource::of(subresource)?;
            Some(Resource::Create(namespace, name, subresource))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
pub(crate) mod tests;
