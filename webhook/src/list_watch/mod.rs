//! Lists and watches of all objects of a resource, one object in memory at a time.
//!
//! kube's typed lists hold a whole page, and its watches end at the first object that cannot be
//! parsed. Any user who may create an object could therefore exhaust the memory of this process, or
//! hide the objects of others from it. Here, an object that cannot be parsed is an item of its own.

mod changes;
mod items;

use std::{collections::VecDeque, marker::PhantomData, pin::Pin};

use futures::{AsyncBufRead, AsyncBufReadExt};
use http::HeaderValue;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Client, Resource,
    api::{ListParams, WatchParams},
    core::{Request, Status},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::sleep};

pub(crate) use changes::{Backoff, Change, Changes};
use items::ItemSplitter;

use crate::redaction::summary;

/// The page size of lists. The API server holds a page in memory, this process does not.
const PAGE_SIZE: u32 = 500;
/// The maximum length of a watch event in bytes. Longer ones are reported as unreadable.
const MAX_EVENT: usize = 8 << 20;

/// A list or a watch that failed or ended. The text holds nothing of an object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Request(String),
    /// The resource version to continue from is too old: list again.
    #[error("the resource version has expired")]
    Expired,
    #[error("the response of the API server is malformed")]
    Malformed,
    #[error("the connection failed while reading: {0}")]
    Read(std::io::ErrorKind),
}

/// The identity of an object that cannot be parsed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObjectIdentity {
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl ObjectIdentity {
    pub(crate) fn from_meta(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            resource_version: meta.resource_version.clone(),
        }
    }

    /// Returns metadata with nothing but the identity.
    pub(crate) fn into_meta(self) -> ObjectMeta {
        ObjectMeta {
            namespace: self.namespace,
            name: self.name,
            resource_version: self.resource_version,
            ..ObjectMeta::default()
        }
    }
}

/// An object, or the identity of one that cannot be parsed.
pub(crate) type Item<K> = Result<K, ObjectIdentity>;

/// A change that a watch reports.
#[derive(Debug)]
pub(crate) enum WatchEvent<K> {
    Applied(Item<K>),
    Deleted(ObjectIdentity),
    Bookmark(ObjectIdentity),
}

/// Lists and watches the objects of one resource, in all namespaces or in one.
#[derive(Clone)]
pub(crate) struct ListWatch<K> {
    client: Client,
    request: Request,
    labels: Option<String>,
    fields: Option<String>,
    allows_stale: bool,
    resource: PhantomData<fn() -> K>,
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static> ListWatch<K> {
    /// Selects all objects of the resource.
    pub(crate) fn all(client: Client) -> Self {
        let request = Request::new(K::url_path(&(), None));
        let (labels, fields, allows_stale) = (None, None, false);
        Self { client, request, labels, fields, allows_stale, resource: PhantomData }
    }

    /// Selects the objects with these labels only.
    pub(crate) fn with_labels(mut self, selector: &str) -> Self {
        self.labels = Some(selector.to_owned());
        self
    }

    /// Selects the objects of one namespace only.
    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        self.request = Request::new(K::url_path(&(), Some(namespace)));
        self
    }

    /// Selects the objects with these fields only. Watches ignore it.
    pub(crate) fn with_fields(mut self, selector: &str) -> Self {
        self.fields = Some(selector.to_owned());
        self
    }

    /// Lists from the watch cache of the API server, which may be behind.
    pub(crate) fn allow_stale(mut self) -> Self {
        self.allows_stale = true;
        self
    }

    /// Starts a list of all pages.
    pub(crate) fn list(&self) -> ListReader<K> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            // The watch cache of the API server serves no pages.
            limit: (!self.allows_stale).then_some(PAGE_SIZE),
            ..ListParams::default()
        };
        let params = if self.allows_stale { params.match_any() } else { params };
        ListReader {
            client: self.client.clone(),
            request: self.request.clone(),
            params,
            page: None,
            items: VecDeque::new(),
            version: None,
        }
    }

    /// Starts a watch of the changes after a version.
    pub(crate) async fn watch(&self, version: &str) -> Result<EventReader<K>, Error> {
        let params = WatchParams { label_selector: self.labels.clone(), ..WatchParams::default() };
        let mut request = self.request.watch(&params, version).map_err(|_| Error::Malformed)?;
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(http::header::ACCEPT_ENCODING, identity);
        let body = self.client.request_stream(request).await.map_err(request_error)?;
        Ok(EventReader { body: Box::pin(body), line: Vec::new(), resource: PhantomData })
    }

    /// Lists and watches in a task until the receiver is dropped.
    pub(crate) fn spawn(self, backoff: Backoff) -> Changes<K> {
        // One change in the channel: memory holds no more objects than are being processed.
        let (sender, receiver) = mpsc::channel(1);
        Changes { receiver, task: tokio::spawn(self.run(backoff, sender)) }
    }

    async fn run(self, mut backoff: Backoff, changes: mpsc::Sender<Change<K>>) {
        let mut version = None;
        while !changes.is_closed() {
            let error = match self.list_and_watch(&mut version, &mut backoff, &changes).await {
                Ok(()) => continue,
                Err(Error::Expired) => {
                    version = None;
                    Error::Expired
                }
                Err(error) => error,
            };
            if changes.send(Change::Failed(error)).await.is_err() {
                return;
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Lists unless a version is known, and watches until the API server ends the watch.
    async fn list_and_watch(
        &self,
        version: &mut Option<String>,
        backoff: &mut Backoff,
        changes: &mpsc::Sender<Change<K>>,
    ) -> Result<(), Error> {
        let from = if let Some(from) = version.clone() {
            from
        } else {
            let listed = self.list_into(changes).await?;
            version.insert(listed).clone()
        };
        let mut events = self.watch(&from).await?;
        backoff.reset();
        while let Some(event) = events.next().await? {
            let (change, seen) = match event {
                WatchEvent::Applied(Ok(object)) => {
                    let seen = object.meta().resource_version.clone();
                    (Some(Change::Applied(Ok(object))), seen)
                }
                WatchEvent::Applied(Err(identity)) => {
                    let seen = identity.resource_version.clone();
                    (Some(Change::Applied(Err(identity))), seen)
                }
                WatchEvent::Deleted(identity) => {
                    let seen = identity.resource_version.clone();
                    (Some(Change::Deleted(identity)), seen)
                }
                WatchEvent::Bookmark(identity) => (None, identity.resource_version),
            };
            if let Some(change) = change
                && changes.send(change).await.is_err()
            {
                return Ok(());
            }
            // Without a version, resume where the last event was.
            *version = seen.or(version.take());
        }
        Ok(())
    }

    /// Sends a whole list as changes and returns its version.
    async fn list_into(&self, changes: &mpsc::Sender<Change<K>>) -> Result<String, Error> {
        // Without a receiver, the next send ends the task.
        let _ = changes.send(Change::ListStarted).await;
        let mut list = self.list();
        while let Some(item) = list.next().await? {
            let _ = changes.send(Change::Listed(item)).await;
        }
        let version = list.version()?;
        let _ = changes.send(Change::ListCompleted).await;
        Ok(version)
    }
}

type Body = Pin<Box<dyn AsyncBufRead + Send>>;

/// Reads the objects of a list one after another.
pub(crate) struct ListReader<K> {
    client: Client,
    request: Request,
    params: ListParams,
    page: Option<(Body, ItemSplitter)>,
    /// Objects of the last chunk that are not returned yet.
    items: VecDeque<Item<K>>,
    version: Option<String>,
}

/// The metadata of a page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl<K: DeserializeOwned> ListReader<K> {
    /// Returns the next object, or `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Item<K>>, Error> {
        while self.items.is_empty() && self.version.is_none() {
            self.read_chunk().await?;
        }
        Ok(self.items.pop_front())
    }

    /// Returns the resource version of the list, which is known after the last object.
    pub(crate) fn version(self) -> Result<String, Error> {
        self.version.filter(|version| !version.is_empty()).ok_or(Error::Malformed)
    }

    async fn read_chunk(&mut self) -> Result<(), Error> {
        if self.page.is_none() {
            let request = self.request.list(&self.params).map_err(|_| Error::Malformed)?;
            let body = self.client.request_stream(request).await.map_err(request_error)?;
            self.page = Some((Box::pin(body), ItemSplitter::default()));
        }
        let Some((body, splitter)) = &mut self.page else {
            return Ok(());
        };
        let chunk = body.fill_buf().await.map_err(|error| Error::Read(error.kind()))?;
        let length = chunk.len();
        let items = &mut self.items;
        splitter.push(chunk, |object| items.push_back(object.map_or_else(unknown, parse)));
        body.consume_unpin(length);
        if length == 0 {
            let (_, splitter) = self.page.take().ok_or(Error::Malformed)?;
            let metadata = splitter.finish().ok_or(Error::Malformed)?;
            let page: PageMetadata =
                serde_json::from_slice(&metadata).map_err(|_| Error::Malformed)?;
            self.params.continue_token = page.continue_token.filter(|token| !token.is_empty());
            if self.params.continue_token.is_none() {
                self.version = Some(page.resource_version);
            }
        }
        Ok(())
    }
}

/// Reads the events of a watch one after another.
pub(crate) struct EventReader<K> {
    body: Body,
    line: Vec<u8>,
    resource: PhantomData<fn() -> K>,
}

/// An event as the API server sends it.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<K: DeserializeOwned> EventReader<K> {
    /// Returns the next event, or `None` if the API server ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<WatchEvent<K>>, Error> {
        loop {
            self.line.clear();
            let is_complete = self.read_line().await?;
            if self.line.is_empty() && !is_complete {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                return parse_event(&self.line).map(Some);
            }
        }
    }

    /// Reads a line and returns whether it has an end.
    async fn read_line(&mut self) -> Result<bool, Error> {
        loop {
            let chunk = self.body.fill_buf().await.map_err(|error| Error::Read(error.kind()))?;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(chunk.len());
            // The line is not valid JSON without its end, so the event is reported as malformed.
            let fits = MAX_EVENT.saturating_sub(self.line.len()).min(length);
            self.line.extend_from_slice(&chunk[..fits]);
            let is_end = chunk.is_empty();
            self.body.consume_unpin(length + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(true);
            }
            if is_end {
                return Ok(false);
            }
        }
    }
}

fn parse_event<K: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<K>, Error> {
    let event: RawEvent<'_> = serde_json::from_slice(line).map_err(|_| Error::Malformed)?;
    let object = event.object.get().as_bytes();
    Ok(match event.kind {
        "ADDED" | "MODIFIED" => WatchEvent::Applied(parse(object)),
        "DELETED" => WatchEvent::Deleted(identity(object)),
        "BOOKMARK" => WatchEvent::Bookmark(identity(object)),
        _ => {
            let status: Status = serde_json::from_slice(object).unwrap_or_default();
            return Err(if status.code == 410 {
                Error::Expired
            } else {
                Error::Request(crate::redaction::status(&status))
            });
        }
    })
}

fn parse<K: DeserializeOwned>(object: &[u8]) -> Item<K> {
    serde_json::from_slice(object).map_err(|_| identity(object))
}

fn identity(object: &[u8]) -> ObjectIdentity {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Identified {
        metadata: ObjectIdentity,
    }
    serde_json::from_slice::<Identified>(object).unwrap_or_default().metadata
}

fn unknown<K>() -> Item<K> {
    Err(ObjectIdentity::default())
}

fn request_error(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 410 => Error::Expired,
        error => Error::Request(summary(&error)),
    }
}

#[cfg(test)]
mod tests;
