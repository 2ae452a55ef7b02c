//! Names to choose from, for completion: what can be had in one request.

use http::Method;
use serde_json::Value;

use super::{Connection, Listing, Scope, Server, Source, everywhere, kubeconfig::Files};
use crate::{
    error::{Error, RequestInfo, Verb},
    home,
    session::Session,
};

/// More than anybody reads.
const LIMIT: usize = 500;

/// Names of the kubeconfig, each with what it stands for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Contexts, with their clusters.
    pub contexts: Vec<(String, String)>,
    /// Clusters, with their servers.
    pub clusters: Vec<(String, String)>,
    /// Users.
    pub users: Vec<(String, String)>,
}

impl Names {
    /// Reads those of the kubeconfig that the flags and the environment name.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(flags: &Connection) -> Result<Self, Error> {
        let files = Files::of(
            flags.kubeconfig.as_deref(),
            std::env::var_os("KUBECONFIG").as_deref(),
            home::of_process(),
        );
        let Some(config) = files.read(|_| ())? else {
            return Ok(Self::default());
        };
        let contexts = config.contexts.into_iter().map(|named| {
            let cluster = named.context.map(|context| context.cluster);
            (named.name, cluster.unwrap_or_default())
        });
        let clusters = config.clusters.into_iter().map(|named| {
            let server = named.cluster.and_then(|cluster| cluster.server);
            (named.name, server.unwrap_or_default())
        });
        let users = config.auth_infos.into_iter();
        Ok(Self {
            contexts: contexts.collect(),
            clusters: clusters.collect(),
            users: users.map(|named| (named.name, String::new())).collect(),
        })
    }
}

impl Server {
    /// Some sessions of the scope: the first page.
    pub async fn some_sessions(&self, scope: &Scope) -> Result<Vec<Value>, Error> {
        let mut listing = Listing::of(scope.clone());
        if self.source().await?.source == Source::Trackers {
            // They remember what is over for some minutes.
            listing = listing.and("status.state!=terminated");
        }
        let page = self.listing(&listing).await?.next().await?;
        let mut sessions = page.unwrap_or_default();
        // What lists hide isn't offered.
        sessions.retain(|item| !Session::of_object(item).is_preview());
        Ok(sessions)
    }

    /// Names of some namespaces.
    pub async fn some_namespaces(&self) -> Result<Vec<String>, Error> {
        let found = self.some(&everywhere(Verb::List), "/api/v1/namespaces").await?;
        let name = |item: &Value| Some(item.pointer("/metadata/name")?.as_str()?.to_owned());
        Ok(found.iter().filter_map(name).collect())
    }

    async fn some(&self, asked: &RequestInfo, path: &str) -> Result<Vec<Value>, Error> {
        let path = format!("{path}?limit={LIMIT}");
        let mut list: Value = self.request(asked, Method::GET, &path, None).await?;
        Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }
}
