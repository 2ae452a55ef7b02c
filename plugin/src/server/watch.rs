//! Watches of sessions and trackers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Server, unexpected_json},
    options::{ListOptions, scope_request},
    url::with_query,
};
use crate::error::{Error, Status, Verb};

/// Size limit of an event: more than the largest object that etcd stores.
const MAX_EVENT: usize = 1 << 26;

/// Time without an event or bookmark after which the connection counts as lost.
///
/// A server sends a bookmark about once a minute. A connection that broke while the machine slept
/// reports no error.
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);

/// Type of a watch event about an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventType {
    /// The object was created or became visible.
    Added,
    /// The object was updated.
    Modified,
    /// The object was deleted or became invisible.
    Deleted,
}

impl EventType {
    /// Returns the type as the API names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// An object was added, modified or deleted.
    Object(EventType, Value),
    /// No further object changed up to this resource version.
    Bookmark(String),
}

#[derive(Deserialize)]
struct EventLine {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// Stream of watch events.
pub struct Watch<'a> {
    server: &'a Server,
    options: &'a ListOptions,
    body: Incoming,
    buffer: Vec<u8>,
    /// The end of the watch by the time limit of requests.
    deadline: Option<Instant>,
}

impl Server {
    /// Watches sessions from a resource version on.
    pub async fn watch<'a>(
        &'a self,
        options: &'a ListOptions,
        resource_version: &str,
    ) -> Result<Watch<'a>, Error> {
        let source = self.discover().await?.source;
        let mut query = options.query();
        query.extend([
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
        ]);
        let path = with_query(&source.path(&options.scope, None), &query);
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| Error::setup(format!("cannot watch: {error}")))?;
        // A plugin may wait for its user, which is no delay of the server.
        self.credentials.current().await?;
        let deadline = self.request_deadline();
        let (head, body) = self.within(deadline, self.open(request)).await?.into_parts();
        self.warnings.write(&head.headers);
        let mut watch = Watch { server: self, options, body, buffer: Vec::new(), deadline };
        if head.status.is_success() {
            return Ok(watch);
        }
        let rest = async {
            while watch.read_more().await? {}
            Ok(())
        };
        self.within(deadline, rest).await?;
        let failure = Status::read(head.status.as_u16(), &watch.buffer);
        Err(watch.api_error(failure))
    }
}

impl Watch<'_> {
    /// Returns the next event, or `None` at the end of the watch.
    ///
    /// The end is that by the server or by the time limit of requests, or follows a long silence.
    ///
    /// # Errors
    /// Fails if the connection breaks, or with code 410 if the resource version expired.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parse_event(&line).map(Some);
            }
            let rest = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let limit = rest.map_or(IDLE_TIMEOUT, |rest| rest.min(IDLE_TIMEOUT));
            if !or_idle(limit, self.read_more()).await? {
                return Ok(None);
            }
        }
    }

    /// Reads the next frame into the buffer and returns whether there was one.
    async fn read_more(&mut self) -> Result<bool, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| self.server.transport.error(&error))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            if self.buffer.len() + bytes.len() > MAX_EVENT {
                return Err(self.unexpected("an event that is too long".to_owned()));
            }
            self.buffer.extend_from_slice(&bytes);
            return Ok(true);
        }
        Ok(false)
    }

    fn parse_event(&self, line: &[u8]) -> Result<WatchEvent, Error> {
        let EventLine { kind, object } = serde_json::from_slice(line)
            .map_err(|error| self.unexpected(unexpected_json(&error)))?;
        let event_type = match kind.as_str() {
            "ADDED" => EventType::Added,
            "MODIFIED" => EventType::Modified,
            "DELETED" => EventType::Deleted,
            "BOOKMARK" => {
                let version = object.pointer("/metadata/resourceVersion");
                let version = version.and_then(Value::as_str).unwrap_or_default();
                return Ok(WatchEvent::Bookmark(version.to_owned()));
            }
            _ => {
                let code = object["code"].as_u64().and_then(|code| code.try_into().ok());
                let body = object.to_string();
                return Err(self.api_error(Status::read(code.unwrap_or(500), body.as_bytes())));
            }
        };
        Ok(WatchEvent::Object(event_type, object))
    }

    fn api_error(&self, failure: Status) -> Error {
        self.server.api_error(scope_request(Verb::Watch, &self.options.scope), failure)
    }

    fn unexpected(&self, what: String) -> Error {
        Error::Unexpected { host: self.server.host.clone(), what }
    }
}

/// Returns the result of the read, or `false` if it exceeds the timeout.
async fn or_idle(
    idle_timeout: Duration,
    read: impl Future<Output = Result<bool, Error>>,
) -> Result<bool, Error> {
    tokio::time::timeout(idle_timeout, read).await.unwrap_or(Ok(false))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn idle_watch_ends() {
        let short = Duration::from_millis(10);
        let idle = or_idle(short, pending()).await;
        assert!(matches!(idle, Ok(false)), "{idle:?}");
        let read = or_idle(short, ready(Ok(true))).await;
        assert!(matches!(read, Ok(true)), "{read:?}");
        let failed = or_idle(short, ready(Err(Error::Reported))).await;
        assert!(failed.is_err());
    }
}
