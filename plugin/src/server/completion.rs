//! Candidates for shell completion, read with at most one request each.

use http::Method;
use serde_json::Value;

use super::{
    client::Server,
    kubeconfig::{KubeconfigFiles, KubeconfigNames},
    options::{ListOptions, Scope, cluster_request},
    source::Source,
};
use crate::{
    cli::ConnectionOptions,
    error::{Error, Verb},
    home,
    session::Session,
};

/// Limit of completion candidates: more than a user would read.
const LIMIT: usize = 500;

impl KubeconfigNames {
    /// Reads the kubeconfig files that the flags and the environment select.
    ///
    /// # Errors
    /// Fails if a file cannot be read or parsed.
    pub fn read(flags: &ConnectionOptions) -> Result<Self, Error> {
        let variable = flags.kubeconfig_list.clone().or_else(|| std::env::var_os("KUBECONFIG"));
        let files = KubeconfigFiles::new(
            flags.kubeconfig.as_deref(),
            variable.as_deref(),
            home::home_dir(),
        );
        Ok(files.read(|_| ())?.map(Self::from).unwrap_or_default())
    }
}

impl Server {
    /// Returns the first page of the sessions in the scope.
    pub async fn first_sessions(&self, scope: &Scope) -> Result<Vec<Value>, Error> {
        let mut options = ListOptions::in_scope(scope.clone());
        if self.discover().await?.source == Source::Trackers {
            // Trackers retain ended sessions for some minutes.
            options = options.with_field("status.state!=terminated");
        }
        let page = self.list(&options).await?.next_page().await?;
        let mut sessions = page.unwrap_or_default();
        // `list` hides preview environments as well.
        sessions.retain(|item| !Session::from_object(item).is_preview());
        Ok(sessions)
    }

    /// Returns the names of the first namespaces.
    pub async fn first_namespaces(&self) -> Result<Vec<String>, Error> {
        let path = format!("/api/v1/namespaces?limit={LIMIT}");
        let info = cluster_request(Verb::List);
        let list: Value = self.request(&info, Method::GET, &path, None).await?;
        let name = |item: &Value| Some(item.pointer("/metadata/name")?.as_str()?.to_owned());
        Ok(list["items"].as_array().into_iter().flatten().filter_map(name).collect())
    }
}
