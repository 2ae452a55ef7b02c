//! Changes, as they happen.

use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use super::{Listing, Server, connect, pages::with_query};
use crate::error::{Error, Status, Verb};

/// The longest event that is read: more than the largest object that etcd stores.
const LONGEST: usize = 1 << 26;

/// How long nothing may come of a watch: a server says each minute or so how far it is, and a
/// connection that was lost while the machine slept says nothing any more.
const QUIET: Duration = Duration::from_mins(3);

/// How an object changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It came, or came into sight.
    Added,
    /// It is another now.
    Modified,
    /// It went, or went out of sight.
    Deleted,
}

impl Change {
    /// The API's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An object changed.
    Object(Change, Value),
    /// Nothing did, up to this resource version.
    Bookmark(String),
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// The events of a watch.
pub struct Watch<'a> {
    server: &'a Server,
    listing: &'a Listing,
    body: Body,
    buffer: Vec<u8>,
}

impl Server {
    /// Watches what a listing lists, from a resource version on.
    pub async fn watch<'a>(
        &'a self,
        listing: &'a Listing,
        version: &str,
    ) -> Result<Watch<'a>, Error> {
        let source = self.source().await?.source;
        let mut query = listing.query();
        query.extend([
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
        ]);
        let path = with_query(&source.path(&listing.scope, None), &query);
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| Error::setup(format!("cannot watch: {error}")))?;
        let response =
            self.client.send(request).await.map_err(|error| connect::failed(&self.host, &error))?;
        let (head, body) = response.into_parts();
        let mut watch = Watch { server: self, listing, body, buffer: Vec::new() };
        if head.status.is_success() {
            return Ok(watch);
        }
        while watch.more().await? {}
        let failure = Status::read(head.status.as_u16(), &watch.buffer);
        Err(watch.refused(failure))
    }
}

impl Watch<'_> {
    /// The next event; nothing when the server has ended the watch, or says nothing any more.
    ///
    /// # Errors
    /// If the connection broke, or with a api_error of code 410 when the watch has fallen behind.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.event(&line).map(Some);
            }
            if !unless_quiet(QUIET, self.more()).await? {
                return Ok(None);
            }
        }
    }

    /// Reads on; answers whether there was more.
    async fn more(&mut self) -> Result<bool, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| connect::failed(&self.server.host, &error))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            if self.buffer.len() + bytes.len() > LONGEST {
                return Err(self.unexpected("an event that is too long".to_owned()));
            }
            self.buffer.extend_from_slice(&bytes);
            return Ok(true);
        }
        Ok(false)
    }

    fn event(&self, line: &[u8]) -> Result<Event, Error> {
        let Line { kind, object } =
            serde_json::from_slice(line).map_err(|error| self.unexpected(error.to_string()))?;
        let change = match kind.as_str() {
            "ADDED" => Change::Added,
            "MODIFIED" => Change::Modified,
            "DELETED" => Change::Deleted,
            "BOOKMARK" => {
                let version = object.pointer("/metadata/resourceVersion");
                let version = version.and_then(Value::as_str).unwrap_or_default();
                return Ok(Event::Bookmark(version.to_owned()));
            }
            _ => {
                let code = object["code"].as_u64().and_then(|code| code.try_into().ok());
                let body = object.to_string();
                return Err(self.refused(Status::read(code.unwrap_or(500), body.as_bytes())));
            }
        };
        Ok(Event::Object(change, object))
    }

    fn refused(&self, failure: Status) -> Error {
        let asked = Server::asked_of(Verb::Watch, &self.listing.scope);
        self.server.refused(asked, failure)
    }

    fn unexpected(&self, what: String) -> Error {
        Error::Unexpected { host: self.server.host.clone(), what }
    }
}

/// Whether there was more; no, where nothing comes for too long.
async fn unless_quiet(
    quiet: Duration,
    more: impl Future<Output = Result<bool, Error>>,
) -> Result<bool, Error> {
    tokio::time::timeout(quiet, more).await.unwrap_or(Ok(false))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_watch_that_says_nothing_any_more_ends() {
        let soon = Duration::from_millis(10);
        let lost = unless_quiet(soon, pending()).await;
        assert!(matches!(lost, Ok(false)), "{lost:?}");
        let told = unless_quiet(soon, ready(Ok(true))).await;
        assert!(matches!(told, Ok(true)), "{told:?}");
        let failed = unless_quiet(soon, ready(Err(Error::Reported))).await;
        assert!(failed.is_err());
    }
}
