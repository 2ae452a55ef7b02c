//! Lists that are read page by page.

use std::collections::HashSet;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{client::Server, options::cluster_request, url::with_query};
use crate::error::{Error, RequestInfo, Verb};

/// Size of the first page, which is kubectl's page size.
const PAGE_SIZE: usize = 500;
/// Upper bound of a growing page, which is some megabytes.
const MAX_PAGE_SIZE: usize = 8 * PAGE_SIZE;

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
    continue_token: Option<String>,
    resource_version: Option<String>,
}

/// A list that is read page by page.
pub struct Pages<'a> {
    server: &'a Server,
    info: RequestInfo,
    path: String,
    /// Items a page; 0 requests everything in one page.
    page_size: usize,
    /// Doubles each page: the first one should arrive soon, and later ones save requests.
    grows: bool,
    continue_token: Option<String>,
    is_complete: bool,
    resource_version: String,
    /// API version and kind of the items, which the items of a list may lack.
    kind: Option<(String, &'static str)>,
    /// Items that need no request.
    prefetched: Vec<Value>,
    /// Items returned so far, in case the list must be read again.
    returned: HashSet<String>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        server: &'a Server,
        info: RequestInfo,
        path: &str,
        query: &[(&str, &str)],
        page_size: Option<usize>,
    ) -> Self {
        Self {
            server,
            info,
            path: with_query(path, query),
            page_size: page_size.unwrap_or(PAGE_SIZE),
            grows: page_size.is_none(),
            continue_token: None,
            is_complete: false,
            resource_version: String::new(),
            kind: None,
            prefetched: Vec::new(),
            returned: HashSet::new(),
        }
    }

    /// Wraps items that have been read already.
    pub(super) fn from_items(server: &'a Server, items: Vec<Value>) -> Self {
        Self {
            prefetched: items,
            is_complete: true,
            ..Self::new(server, cluster_request(Verb::List), "", &[], None)
        }
    }

    /// Sets the API version and kind of the items, which `kubectl apply` requires.
    pub(super) fn with_kind(mut self, kind: (String, &'static str)) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Returns the next page, or `None` after the last one.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Value>>, Error> {
        if !self.prefetched.is_empty() {
            return Ok(Some(std::mem::take(&mut self.prefetched)));
        }
        while !self.is_complete {
            let limit = self.page_size.to_string();
            let mut query = Vec::new();
            if self.page_size > 0 {
                query.push(("limit", &*limit));
            }
            if let Some(token) = &self.continue_token {
                query.push(("continue", token));
            }
            let path = with_query(&self.path, &query);
            let page = self.server.request::<Page>(&self.info, Method::GET, &path, None).await;
            match page {
                Ok(page) => {
                    if self.grows && self.page_size > 0 {
                        self.page_size = MAX_PAGE_SIZE.min(self.page_size * 2);
                    }
                    return Ok(Some(self.accept(page)));
                }
                // The snapshot behind the continue token expired. Read the whole list in one page
                // and skip the items that were returned.
                Err(Error::Api(api_error))
                    if api_error.status.code == 410 && self.continue_token.is_some() =>
                {
                    self.page_size = 0;
                    self.continue_token = None;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn accept(&mut self, page: Page) -> Vec<Value> {
        let mut items = page.items.unwrap_or_default();
        self.resource_version = page.metadata.resource_version.unwrap_or_default();
        self.continue_token = page.metadata.continue_token.filter(|token| !token.is_empty());
        self.is_complete = self.continue_token.is_none();
        if !self.returned.is_empty() || !self.is_complete {
            items.retain(|item| self.returned.insert(namespaced_name(item)));
        }
        if let Some(kind) = &self.kind {
            set_kind(&mut items, kind);
        }
        items
    }

    /// Returns the resource version of the list, as of the last page.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// Returns all remaining items.
    pub async fn collect(&mut self) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        while let Some(page) = self.next_page().await? {
            items.extend(page);
        }
        Ok(items)
    }
}

impl Server {
    /// Returns all items of a list.
    pub(super) async fn list_objects(
        &self,
        info: &RequestInfo,
        path: &str,
        field_selector: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let query: Vec<_> =
            field_selector.map(|selector| ("fieldSelector", selector)).into_iter().collect();
        Pages::new(self, info.clone(), path, &query, None).collect().await
    }
}

/// Sets the API version and kind of the items that lack them.
pub(super) fn set_kind(items: &mut [Value], (version, kind): &(String, &'static str)) {
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.entry("apiVersion").or_insert_with(|| json!(version));
        item.entry("kind").or_insert_with(|| json!(kind));
    }
}

fn namespaced_name(item: &Value) -> String {
    let text = |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}
