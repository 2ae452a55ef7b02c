//! Cluster and user of the kubeconfig files, and the flags that override them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use self::{
    document::Entry,
    fields::{Fields, Problem},
    overrides::{override_cluster, override_user, without_empty_flags},
};
pub(super) use self::{
    document::Kubeconfig,
    types::{AuthProvider, Cluster, Context, Exec, Impersonation, User},
};
use crate::{cli::ConnectionOptions, error::Error};

mod document;
mod fields;
mod overrides;
#[cfg(test)]
mod tests;
mod types;
mod validate;

/// Files that the configuration is read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum KubeconfigFiles {
    /// File named by a flag, which must exist.
    Explicit(PathBuf),
    /// Files of `KUBECONFIG`, or kubectl's default file; missing files are skipped.
    Implicit(Vec<PathBuf>),
}

impl KubeconfigFiles {
    /// Selects the files from the flag, from `KUBECONFIG`, or from the home directory.
    pub(super) fn new(
        flag: Option<&Path>,
        variable: Option<&OsStr>,
        home: Option<PathBuf>,
    ) -> Self {
        if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
            return Self::Explicit(path.to_owned());
        }
        let listed: Vec<PathBuf> = variable
            .iter()
            .flat_map(|paths| std::env::split_paths(paths).collect::<Vec<_>>())
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if listed.is_empty() {
            Self::Implicit(home.map(|home| home.join(".kube").join("config")).into_iter().collect())
        } else {
            Self::Implicit(listed)
        }
    }

    /// Reads and merges the files, or returns `None` if none of them exists.
    pub(super) fn read(&self, on_loaded: impl Fn(&Path)) -> Result<Option<Kubeconfig>, Error> {
        match self {
            Self::Explicit(path) => read_file(path)?
                .inspect(|_| on_loaded(path))
                .map(Some)
                .ok_or_else(|| Error::setup(format!("there is no kubeconfig {}", path.display()))),
            Self::Implicit(paths) => {
                let mut merged: Option<Kubeconfig> = None;
                for path in paths {
                    let Some(next) = read_file(path)? else { continue };
                    on_loaded(path);
                    merged = Some(match merged {
                        Some(first) => first.merge(next),
                        None => next,
                    });
                }
                Ok(merged)
            }
        }
    }

    /// Returns the paths for an error message.
    pub(super) fn display(&self) -> String {
        let paths: Vec<String> = match self {
            Self::Explicit(path) => vec![path.display().to_string()],
            Self::Implicit(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
        };
        paths.join(", ")
    }
}

fn read_file(path: &Path) -> Result<Option<Kubeconfig>, Error> {
    let load_error = |reason: String| {
        Error::setup(format!("error loading config file \"{}\": {reason}", path.display()))
    };
    match std::fs::read(path) {
        Ok(bytes) => Kubeconfig::parse(&bytes, Some(path)).map(Some).map_err(load_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(load_error(error.to_string())),
    }
}

/// Cluster, user and namespace that flags and kubeconfig select.
pub(super) struct SelectedContext {
    pub(super) cluster: Cluster,
    pub(super) user: User,
    pub(super) namespace: Option<String>,
    /// Describes the source of the credentials, for error messages.
    pub(super) credentials: String,
}

impl SelectedContext {
    /// Selects the context of the kubeconfig and applies the flags to it.
    pub(super) fn select(config: &Kubeconfig, flags: &ConnectionOptions) -> Result<Self, Error> {
        let flags = &without_empty_flags(flags);
        let context = select_context(config, flags)?;
        let cluster_name = flags.cluster.as_ref().unwrap_or(&context.cluster);
        let found = find("cluster", &config.clusters, cluster_name, Cluster::parse)?;
        let cluster = match found {
            Some(cluster) => cluster,
            None if flags.server.is_some() && flags.cluster.is_none() => Cluster::default(),
            None if cluster_name.is_empty() => return Err(context_without_cluster(config, flags)),
            None => return Err(missing_name("cluster", cluster_name, &config.clusters)),
        };
        let user_name =
            flags.user.as_ref().or(context.user.as_ref()).filter(|name| !name.is_empty());
        let mut user = User::default();
        let mut credentials = "the kubeconfig".to_owned();
        if let Some(name) = user_name {
            user = find("user", &config.users, name, User::parse)?
                .ok_or_else(|| missing_name("auth info", name, &config.users))?;
            credentials = format!("user \"{name}\" of the kubeconfig");
        }
        if cluster.server.is_none() && flags.server.is_none() {
            return Err(Error::setup(format!(
                "cluster \"{cluster_name}\" of the kubeconfig has no server: set it, or give --server"
            )));
        }
        let names = (cluster_name.as_str(), user_name.map_or("the command line", String::as_str));
        Self { cluster, user, namespace: context.namespace, credentials }.with_flags(names, flags)
    }

    /// Applies the flags to the selection, which the names describe in error messages.
    ///
    /// # Errors
    /// Fails if the flags contradict each other, or name files that cannot be read.
    pub(super) fn with_flags(
        mut self,
        (cluster_name, user_name): (&str, &str),
        flags: &ConnectionOptions,
    ) -> Result<Self, Error> {
        let flags = &without_empty_flags(flags);
        override_cluster(&mut self.cluster, flags)?;
        override_user(&mut self.user, flags);
        for (flag, name) in [
            (&flags.username, "--username"),
            (&flags.client_certificate, "--client-certificate"),
            (&flags.token, "--token"),
        ] {
            if flag.is_some() {
                name.clone_into(&mut self.credentials);
            }
        }
        validate::cluster(&self.cluster, cluster_name)?;
        validate::user(&self.user, user_name)?;
        Ok(self)
    }
}

fn select_context(config: &Kubeconfig, flags: &ConnectionOptions) -> Result<Context, Error> {
    let Some(name) = flags.context.as_ref().or(config.current_context.as_ref()) else {
        // The flags alone can select a cluster.
        if flags.server.is_some() || flags.cluster.is_some() {
            return Ok(Context::default());
        }
        let existing = list_names(&config.contexts);
        return Err(Error::setup(format!(
            "the kubeconfig has no current context: choose one with --context or \"kubectl config use-context\" ({existing})"
        )));
    };
    find("context", &config.contexts, name, Context::parse)?
        .ok_or_else(|| missing_name("context", name, &config.contexts))
}

fn context_without_cluster(config: &Kubeconfig, flags: &ConnectionOptions) -> Error {
    let name = flags.context.as_ref().or(config.current_context.as_ref());
    Error::setup(format!(
        "context \"{}\" of the kubeconfig names no cluster: choose another with --context, or give --cluster",
        name.map_or("", String::as_str)
    ))
}

/// Parses the entry with the name, if there is one.
fn find<T>(
    kind: &str,
    entries: &[Entry],
    name: &str,
    parse: impl FnOnce(&Fields<'_>) -> Result<T, Problem>,
) -> Result<Option<T>, Error> {
    let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
        return Ok(None);
    };
    entry.parse(parse).map(Some).map_err(|problem| {
        Error::setup(format!(
            "{kind} \"{name}\" of the kubeconfig{} cannot be used: {problem}",
            entry.file_suffix()
        ))
    })
}

fn missing_name(kind: &str, name: &str, entries: &[Entry]) -> Error {
    let existing = list_names(entries);
    Error::setup(format!("{kind} \"{name}\" does not exist in the kubeconfig ({existing})"))
}

fn list_names(entries: &[Entry]) -> String {
    const MAX_NAMES: usize = 20;
    let all: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    if all.is_empty() {
        return "it has none".to_owned();
    }
    let shown: Vec<&str> = all.iter().copied().take(MAX_NAMES).collect();
    let more = if all.len() > MAX_NAMES { ", …" } else { "" };
    format!("it has {}{more}", shown.join(", "))
}

/// Names that a kubeconfig defines, each with a description.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigNames {
    /// Contexts with their clusters.
    pub contexts: Vec<(String, String)>,
    /// Clusters with their servers.
    pub clusters: Vec<(String, String)>,
    /// Users without a description.
    pub users: Vec<(String, String)>,
}

impl From<Kubeconfig> for KubeconfigNames {
    fn from(config: Kubeconfig) -> Self {
        let name = |entry: &Entry| entry.name.clone();
        let context = |entry: &Entry| {
            let cluster = entry.parse(Context::parse).map(|context| context.cluster);
            (name(entry), cluster.unwrap_or_default())
        };
        let cluster = |entry: &Entry| {
            let server = entry.parse(Cluster::parse).ok().and_then(|cluster| cluster.server);
            (name(entry), server.unwrap_or_default())
        };
        Self {
            contexts: config.contexts.iter().map(context).collect(),
            clusters: config.clusters.iter().map(cluster).collect(),
            users: config.users.iter().map(|entry| (name(entry), String::new())).collect(),
        }
    }
}
