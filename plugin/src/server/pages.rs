//! Lists, page by page.

use std::{collections::HashSet, fmt::Write};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Server, everywhere, wire::encoded};
use crate::error::{Error, RequestInfo, Verb};

/// kubectl's page size.
const PAGE: usize = 500;
/// The most that is asked for at a time, where pages grow: some megabytes.
const LARGEST: usize = 8 * PAGE;

#[derive(Deserialize)]
struct Page {
    items: Option<Vec<Value>>,
    #[serde(default)]
    metadata: PageMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
    resource_version: Option<String>,
}

/// A list that is read page by page.
pub struct Pages<'a> {
    server: &'a Server,
    asked: RequestInfo,
    path: String,
    /// At most so many items a page; all of them if it is 0.
    size: usize,
    /// Whether each page may be twice as long as the one before: the first should be there soon,
    /// and then every request costs more than the items it is for.
    grows: bool,
    next: Option<String>,
    done: bool,
    version: String,
    /// API version and kind of the items, which those of a list may go without.
    kind: Option<(String, &'static str)>,
    /// Items that are there already.
    given: Vec<Value>,
    /// Where the items are that were answered already, in case the list must be read anew.
    seen: HashSet<String>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        server: &'a Server,
        asked: RequestInfo,
        path: &str,
        query: &[(&str, &str)],
        size: Option<usize>,
    ) -> Self {
        Self {
            server,
            asked,
            path: with_query(path, query),
            size: size.unwrap_or(PAGE),
            grows: size.is_none(),
            next: None,
            done: false,
            version: String::new(),
            kind: None,
            given: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// A list whose items are there already.
    pub(super) fn of(server: &'a Server, items: Vec<Value>) -> Self {
        Self {
            given: items,
            done: true,
            ..Self::new(server, everywhere(Verb::List), "", &[], None)
        }
    }

    /// A list whose items are of this version and kind: `kubectl apply` needs to be told.
    pub(super) fn of_kind(mut self, kind: (String, &'static str)) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The next page; nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, Error> {
        if !self.given.is_empty() {
            return Ok(Some(std::mem::take(&mut self.given)));
        }
        while !self.done {
            let mut path = self.path.clone();
            let mut add = |name: &str, value: &str| {
                let before = if path.contains('?') { '&' } else { '?' };
                let _ = write!(path, "{before}{name}={}", encoded(value));
            };
            if self.size > 0 {
                add("limit", &self.size.to_string());
            }
            if let Some(next) = &self.next {
                add("continue", next);
            }
            let page = self.server.request::<Page>(&self.asked, Method::GET, &path, None).await;
            match page {
                Ok(page) => {
                    if self.grows && self.size > 0 {
                        self.size = LARGEST.min(self.size * 2);
                    }
                    return Ok(Some(self.took(page)));
                }
                // The pages have been going on for so long that their snapshot is gone: the rest in
                // one then.
                Err(Error::Api(api_error))
                    if api_error.status.code == 410 && self.next.is_some() =>
                {
                    self.size = 0;
                    self.next = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn took(&mut self, page: Page) -> Vec<Value> {
        let mut items = page.items.unwrap_or_default();
        self.version = page.metadata.resource_version.unwrap_or_default();
        self.next = page.metadata.next.filter(|next| !next.is_empty());
        self.done = self.next.is_none();
        if !self.seen.is_empty() || !self.done {
            items.retain(|item| self.seen.insert(place(item)));
        }
        if let Some(kind) = &self.kind {
            name_kind(&mut items, kind);
        }
        items
    }

    /// The resource version of the list, as far as it has been read.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All that is left, in one.
    pub async fn all(&mut self) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        while let Some(page) = self.next().await? {
            items.extend(page);
        }
        Ok(items)
    }
}

impl Server {
    /// All the items of a list.
    pub(super) async fn pages(
        &self,
        asked: &RequestInfo,
        path: &str,
        selector: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let query: Vec<_> =
            selector.map(|selector| ("fieldSelector", selector)).into_iter().collect();
        Pages::new(self, asked.clone(), path, &query, None).all().await
    }
}

/// Says of each item what it is, where it doesn't itself.
pub(super) fn name_kind(items: &mut [Value], (version, kind): &(String, &'static str)) {
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.entry("apiVersion").or_insert_with(|| json!(version));
        item.entry("kind").or_insert_with(|| json!(kind));
    }
}

/// What tells an item from the others of its list.
fn place(item: &Value) -> String {
    let text = |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

/// The path with these parameters.
pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut path = path.to_owned();
    for (n, (name, value)) in query.iter().enumerate() {
        let before = if n == 0 { '?' } else { '&' };
        let _ = write!(path, "{before}{name}={}", encoded(value));
    }
    path
}
