//! Handling of watch requests. The module `watch_stream` produces the body.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, StreamBody};
use mirrord_sessions_core::{
    apiserver::{
        ApiError,
        content_negotiation::{self, ResponseKind},
        filter::Filter,
        options::{ListOptions, Version},
        render::RenderOptions,
        watch::Watch,
        watch_events::EventBuffer,
    },
    identity::Requester,
    policy::{JoinRights, Verb, Viewer},
};
use tokio::{sync::watch, time::Instant};

use super::{
    headers,
    routes::Api,
    watch_stream::{self, OpenWatch},
};
use crate::{
    clock::unix_now,
    server::{body::full, response::Response},
};

/// The minimum timeout of watches that request none. As in the API server, each ends at a random
/// time between this and twice this.
const MIN_TIMEOUT: Duration = Duration::from_mins(30);
/// The maximum timeout of watches, since the requester is authenticated only at the start.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    /// Handles a watch request.
    pub(super) async fn watch(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        filter: Filter,
        options: &ListOptions,
        front_proxy_changes: watch::Receiver<()>,
    ) -> Result<Response, ApiError> {
        let (_, representation) =
            content_negotiation::negotiate(headers::accept(&head.headers), ResponseKind::Watch)?;
        self.store.wait_for_version(0).await?;
        if options.send_initial_events == Some(true) {
            self.store.wait_for_version(options.version.minimum()).await?;
        }
        // Subscribe before reading the policies, so that no change in between is missed.
        let mut policy_changes = self.store.watch_policies();
        policy_changes.mark_unchanged();
        let index_changes = self.store.watch_index();
        let policies = self.store.policies()?;
        let viewer = policies.viewer(requester, JoinRights::Nowhere);
        if let Some(reason) = viewer.forbidden_reason(Verb::List) {
            return Err(ApiError::forbidden(&requester.username, "watch", &reason));
        }
        let namespace = filter.namespace.clone();
        let reviewed = self
            .join_authorizer
            .join_rights(requester, &policies, &self.store, namespace.as_deref())
            .await;
        let viewer = viewer.with_join_rights(reviewed.rights.clone());
        let render_options =
            RenderOptions { representation, include: options.include, now: unix_now() };
        let mut events = EventBuffer::new(render_options);
        let other_policies = match options.version {
            Version::At(version) => self.store.policies_active_at(version, &policies),
            _ => Vec::new(),
        };
        if !other_policies.is_empty() {
            // Another replica may have sent the version. If this replica does not reach it in time,
            // the client has to list again.
            let _ = self.store.wait_for_version(options.version.minimum()).await;
        }
        let other_viewers: Vec<Option<Viewer>> = other_policies
            .iter()
            .map(|set| Some(set.as_ref()?.viewer(requester, reviewed.rights.clone())))
            .collect();
        let started = Watch::start(&self.store.index(), filter, options, viewer, &other_viewers);
        let body = match started {
            Ok(watch) => {
                let timeout = options.timeout.map_or_else(default_timeout, |seconds| {
                    Duration::from_secs(seconds.into()).min(MAX_TIMEOUT)
                });
                let open = OpenWatch {
                    store: Arc::clone(&self.store),
                    requester: Arc::clone(requester),
                    namespace,
                    policies,
                    join_authorizer: Arc::clone(&self.join_authorizer),
                    reviewed,
                    watch,
                    events,
                    bookmarks: options.bookmarks,
                    deadline: Instant::now() + timeout,
                    index_changes,
                    policy_changes,
                    shutdown: self.store.watch_shutdown(),
                    front_proxy_changes,
                };
                StreamBody::new(watch_stream::frames(open)).boxed_unsync()
            }
            // Like the API server, report an expired version in the stream, with status 200.
            Err(error) if error.code == 410 => {
                events.push_error(&error);
                full(events.bytes.into())
            }
            Err(error) => return Err(error),
        };
        let mut response = http::Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }
}

/// Returns a random timeout between `MIN_TIMEOUT` and twice that.
///
/// The clock's nanoseconds are random enough.
fn default_timeout() -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    MIN_TIMEOUT + Duration::from_secs(u64::from(nanos % 1_800))
}
