//! A watch as it is asked for; see `stream` for how it goes on.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, StreamBody};
use mirrord_sessions_core::{
    apiserver::{
        Failure,
        accept::{self, Target},
        filter::Filter,
        options::{self, ListOptions},
        render::Look,
        watch::{Events, Watch},
    },
    identity::Requester,
    policy::{JoinRights, Verb, Viewer},
};
use tokio::{sync::watch, time::Instant};

use super::{
    routes::{Api, accepts},
    watch_stream::{self, Open, now},
};
use crate::server::{body::full, response::Response};

/// A watch that names no timeout ends between this and twice this, as in the API server: not all of
/// them at once.
const WATCH_AT_LEAST: Duration = Duration::from_mins(30);
/// No watch is longer: its requester is only looked at when it starts.
const WATCH_AT_MOST: Duration = Duration::from_hours(1);

impl Api {
    /// Answers a watch.
    pub(crate) async fn watch(
        &self,
        head: &Parts,
        requester: &Arc<Requester>,
        filter: Filter,
        options: &ListOptions,
        believed: watch::Receiver<()>,
    ) -> Result<Response, Failure> {
        let (_, shape) = accept::negotiate(accepts(&head.headers), Target::Watch)?;
        self.store.wait_for(options::Version::Any).await?;
        if options.send_initial == Some(true) {
            self.store.wait_for(options.version).await?;
        }
        // Before who decides is asked: what changes from here on is noticed.
        let mut generations = self.store.generations();
        generations.mark_unchanged();
        let changes = self.store.changes();
        let policies = self.store.policies()?;
        let viewer = policies.viewer(requester, JoinRights::Nowhere);
        if let Some(why) = viewer.refuses(Verb::List) {
            return Err(Failure::forbidden(&requester.username, "watch", &why));
        }
        let namespace = filter.namespace.clone();
        let scope = namespace.as_deref();
        let asked = self.rights.of(requester, &policies, &self.store, scope).await;
        let viewer = viewer.joining(asked.joins.clone());
        let look = Look { shape, include: options.include, now: now() };
        let mut events = Events::new(look);
        let told_by = match options.version {
            options::Version::At(version) => self.store.told_by(version, &policies),
            _ => Vec::new(),
        };
        if !told_by.is_empty() {
            // Another replica may have told it. Where it doesn't come, the client lists.
            let _ = self.store.wait_for(options.version).await;
        }
        let told_by: Vec<Option<Viewer>> = told_by
            .iter()
            .map(|set| Some(set.as_ref()?.viewer(requester, asked.joins.clone())))
            .collect();
        let started = Watch::start(&self.store.index(), filter, options, viewer, &told_by);
        let body = match started {
            Ok(watch) => {
                let lasts = options.timeout.map_or_else(longest, |seconds| {
                    Duration::from_secs(seconds.into()).min(WATCH_AT_MOST)
                });
                let open = Open {
                    store: Arc::clone(&self.store),
                    requester: Arc::clone(requester),
                    namespace,
                    policies,
                    rights: Arc::clone(&self.rights),
                    asked,
                    watch,
                    events,
                    bookmarks: options.bookmarks,
                    ends: Instant::now() + lasts,
                    changes,
                    generations,
                    closing: self.store.closing(),
                    believed,
                };
                StreamBody::new(watch_stream::frames(open)).boxed_unsync()
            }
            // As the API server tells it: in the stream, not by the answer's code.
            Err(failure) if failure.code == 410 => {
                events.error(&failure);
                full(events.bytes.into())
            }
            Err(failure) => return Err(failure),
        };
        let mut answer = http::Response::new(body);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(answer)
    }
}

/// Somewhere between the bounds, without a source of chance: the clock's nanoseconds are enough.
fn longest() -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    WATCH_AT_LEAST + Duration::from_secs(u64::from(nanos % 1_800))
}
