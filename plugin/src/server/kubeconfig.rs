//! Which cluster, as which user: the kubeconfig files and the flags that override them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use serde_json::json;

use super::connect::Connection;
use crate::error::Error;

/// The files that the configuration is read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Files {
    /// Named by the flag: must be there.
    Named(PathBuf),
    /// Those of `KUBECONFIG`, or kubectl's default: read as far as they are there.
    Found(Vec<PathBuf>),
}

impl Files {
    pub(super) fn of(flag: Option<&Path>, variable: Option<&OsStr>, home: Option<PathBuf>) -> Self {
        if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
            return Self::Named(path.to_owned());
        }
        let listed: Vec<PathBuf> = variable
            .iter()
            .flat_map(|paths| std::env::split_paths(paths).collect::<Vec<_>>())
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if listed.is_empty() {
            Self::Found(home.map(|home| home.join(".kube").join("config")).into_iter().collect())
        } else {
            Self::Found(listed)
        }
    }

    /// What the files hold together; nothing if there are none.
    pub(super) fn read(&self, loaded: impl Fn(&Path)) -> Result<Option<Kubeconfig>, Error> {
        match self {
            Self::Named(path) => read(path)?
                .inspect(|_| loaded(path))
                .map(Some)
                .ok_or_else(|| Error::setup(format!("there is no kubeconfig {}", path.display()))),
            Self::Found(paths) => {
                let mut merged: Option<Kubeconfig> = None;
                for path in paths {
                    let Some(next) = read(path)? else { continue };
                    loaded(path);
                    merged = Some(match merged {
                        Some(first) => {
                            first.merge(next).map_err(|error| unreadable(path, &error))?
                        }
                        None => next,
                    });
                }
                Ok(merged)
            }
        }
    }

    /// The files, for a message that says that none of them is there.
    pub(super) fn looked_in(&self) -> String {
        let paths: Vec<String> = match self {
            Self::Named(path) => vec![path.display().to_string()],
            Self::Found(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
        };
        paths.join(", ")
    }
}

fn read(path: &Path) -> Result<Option<Kubeconfig>, Error> {
    // kube panics on half a character of UTF-16.
    if std::fs::read(path).is_ok_and(|bytes| is_broken_utf16(&bytes)) {
        return Err(Error::setup(format!(
            "error loading config file \"{}\": Invalid UTF-16",
            path.display()
        )));
    }
    match Kubeconfig::read_from(path) {
        Ok(mut config) => {
            // "" means the same as nothing: it must not hide what the next file says.
            config.current_context = config.current_context.filter(|name| !name.is_empty());
            Ok(Some(config))
        }
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn is_broken_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) && bytes.len() % 2 == 1
}

fn unreadable(path: &Path, error: &KubeconfigError) -> Error {
    let why = match error {
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    };
    // A YAML parser draws the place over several lines; the first one says it.
    let why = why.lines().next().unwrap_or_default().trim_end_matches(':').to_owned();
    Error::setup(format!("error loading config file \"{}\": {why}", path.display()))
}

/// One cluster and one user.
pub(super) struct Selected {
    pub(super) cluster: Cluster,
    pub(super) user: AuthInfo,
    pub(super) namespace: Option<String>,
    /// Whose credentials these are, for a message.
    pub(super) credentials: String,
}

impl Selected {
    /// What the kubeconfig and the flags say together.
    pub(super) fn of(config: &Kubeconfig, flags: &Connection) -> Result<Self, Error> {
        let flags = &given(flags);
        let context = context(config, flags)?;
        let cluster_name = flags.cluster.as_ref().unwrap_or(&context.cluster);
        let mut cluster =
            match find(&config.clusters, cluster_name, |named| (&named.name, &named.cluster)) {
                Some(cluster) => cluster,
                None if flags.server.is_some() && flags.cluster.is_none() => Cluster::default(),
                None => {
                    return Err(missing(
                        "cluster",
                        cluster_name,
                        config.clusters.iter().map(|named| &named.name),
                    ));
                }
            };
        let user_name =
            flags.user.as_ref().or(context.user.as_ref()).filter(|name| !name.is_empty());
        let mut user = AuthInfo::default();
        let mut credentials = "the kubeconfig".to_owned();
        if let Some(name) = user_name {
            user = find(&config.auth_infos, name, |named| (&named.name, &named.auth_info))
                .ok_or_else(|| {
                    missing("auth info", name, config.auth_infos.iter().map(|named| &named.name))
                })?;
            credentials = format!("user \"{name}\" of the kubeconfig");
        }
        override_cluster(&mut cluster, flags)?;
        if cluster.server.as_ref().is_none_or(String::is_empty) {
            return Err(Error::setup(format!(
                "cluster \"{cluster_name}\" of the kubeconfig has no server: set it, or give --server"
            )));
        }
        if flags.token.is_some() {
            "--token".clone_into(&mut credentials);
        } else if flags.client_certificate.is_some() {
            "--client-certificate".clone_into(&mut credentials);
        }
        override_user(&mut user, flags)?;
        let shown = user_name.map_or("the command line", String::as_str);
        credentials::check(&user, shown)?;
        Ok(Self { cluster, user, namespace: context.namespace, credentials })
    }

    /// The same, and its credentials are called so unless flags gave others.
    pub(super) fn called(self, name: &str, flags: &Connection) -> Self {
        let is_own = flags.token.is_none() && flags.client_certificate.is_none();
        Self { credentials: if is_own { name.to_owned() } else { self.credentials }, ..self }
    }

    /// A kubeconfig that holds nothing but this.
    pub(super) fn alone(self) -> Kubeconfig {
        let name = || "selected".to_owned();
        Kubeconfig {
            clusters: vec![NamedCluster {
                name: name(),
                cluster: Some(self.cluster),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: name(),
                auth_info: Some(self.user),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: name(),
                context: Some(Context {
                    cluster: name(),
                    user: Some(name()),
                    ..Context::default()
                }),
                ..NamedContext::default()
            }],
            current_context: Some(name()),
            ..Kubeconfig::default()
        }
    }
}

fn context(config: &Kubeconfig, flags: &Connection) -> Result<Context, Error> {
    let names = || config.contexts.iter().map(|named| &named.name);
    let Some(name) = flags.context.as_ref().or(config.current_context.as_ref()) else {
        // Flags alone can say where to go.
        if flags.server.is_some() || flags.cluster.is_some() {
            return Ok(Context::default());
        }
        let choice = choice(names());
        return Err(Error::setup(format!(
            "the kubeconfig has no current context: choose one with --context or \"kubectl config use-context\" ({choice})"
        )));
    };
    find(&config.contexts, name, |named| (&named.name, &named.context))
        .ok_or_else(|| missing("context", name, names()))
}

/// kube merges several of a name already; the first one counts.
fn find<'a, N, T: Clone + 'a>(
    all: &'a [N],
    name: &String,
    parts: impl Fn(&'a N) -> (&'a String, &'a Option<T>),
) -> Option<T> {
    all.iter().map(parts).find(|(found, _)| *found == name).and_then(|(_, value)| value.clone())
}

fn missing<'a>(what: &str, name: &str, all: impl Iterator<Item = &'a String>) -> Error {
    Error::setup(format!("{what} \"{name}\" does not exist in the kubeconfig ({})", choice(all)))
}

fn choice<'a>(all: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 20;
    let all: BTreeSet<&str> = all.map(String::as_str).collect();
    if all.is_empty() {
        return "it has none".to_owned();
    }
    let shown: Vec<&str> = all.iter().copied().take(SHOWN).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    format!("it has {}{more}", shown.join(", "))
}

/// kubectl takes an empty flag for one that wasn't given.
fn given(flags: &Connection) -> Connection {
    let mut flags = flags.clone();
    for flag in [
        &mut flags.context,
        &mut flags.cluster,
        &mut flags.user,
        &mut flags.server,
        &mut flags.token,
        &mut flags.username,
        &mut flags.password,
        &mut flags.certificate_authority,
        &mut flags.client_certificate,
        &mut flags.client_key,
        &mut flags.tls_server_name,
        &mut flags.impersonate,
        &mut flags.impersonate_uid,
    ] {
        *flag = flag.take().filter(|text| !text.is_empty());
    }
    flags
}

fn override_cluster(cluster: &mut Cluster, flags: &Connection) -> Result<(), Error> {
    if let Some(server) = &flags.server {
        cluster.server = Some(server.clone());
    }
    if let Some(path) = &flags.certificate_authority {
        cluster.certificate_authority = Some(path.clone());
        cluster.certificate_authority_data = None;
        cluster.insecure_skip_tls_verify = None;
    }
    if let Some(name) = &flags.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    // Empty settings are as good as none.
    for setting in [
        &mut cluster.certificate_authority,
        &mut cluster.certificate_authority_data,
        &mut cluster.tls_server_name,
    ] {
        *setting = setting.take().filter(|text| !text.is_empty());
    }
    let has_authority =
        cluster.certificate_authority.is_some() || cluster.certificate_authority_data.is_some();
    if has_authority && cluster.insecure_skip_tls_verify == Some(true) {
        // kubectl refuses it too: one of the two isn't meant.
        return Err(Error::setup(
            "specifying a root certificates file with the insecure flag is not allowed: remove certificate-authority or insecure-skip-tls-verify from the kubeconfig",
        ));
    }
    Ok(())
}

fn override_user(user: &mut AuthInfo, flags: &Connection) -> Result<(), Error> {
    if let Some(token) = &flags.token {
        // Through serde, which spares a dependency for the type that hides secrets from logs.
        let with_token: AuthInfo = serde_json::from_value(json!({ "token": token }))
            .map_err(|error| Error::setup(format!("--token: {error}")))?;
        *user = AuthInfo {
            token: with_token.token,
            token_file: None,
            username: None,
            password: None,
            exec: None,
            auth_provider: None,
            ..std::mem::take(user)
        };
    }
    if flags.username.is_some() || flags.password.is_some() {
        let basic: AuthInfo = serde_json::from_value(
            json!({ "username": flags.username, "password": flags.password }),
        )
        .map_err(|error| Error::setup(format!("--password: {error}")))?;
        *user = AuthInfo {
            username: basic.username.or_else(|| user.username.take()),
            password: basic.password.or_else(|| user.password.take()),
            exec: None,
            auth_provider: None,
            ..std::mem::take(user)
        };
        if flags.token.is_none() {
            // A token itself stays, so that two ways to log in are refused, as kubectl refuses
            // them.
            user.token_file = None;
        }
    }
    if let Some(path) = &flags.client_certificate {
        user.client_certificate = Some(path.clone());
        user.client_certificate_data = None;
    }
    if let Some(path) = &flags.client_key {
        user.client_key = Some(path.clone());
        user.client_key_data = None;
    }
    if let Some(name) = &flags.impersonate {
        user.impersonate = Some(name.clone());
    }
    if !flags.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(flags.impersonate_groups.clone());
    }
    if let Some(uid) = &flags.impersonate_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    Ok(())
}

mod credentials;
#[cfg(test)]
mod tests;
