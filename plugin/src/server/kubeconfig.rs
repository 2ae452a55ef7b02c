//! Cluster and user of the kubeconfig files, and the flags that override them.

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

use crate::{cli::ConnectionOptions, error::Error};

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
                        Some(first) => {
                            first.merge(next).map_err(|error| load_error(path, &error))?
                        }
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
    // kube panics if the file ends within a UTF-16 code unit.
    if std::fs::read(path).is_ok_and(|bytes| is_broken_utf16(&bytes)) {
        return Err(Error::setup(format!(
            "error loading config file \"{}\": Invalid UTF-16",
            path.display()
        )));
    }
    match Kubeconfig::read_from(path) {
        Ok(mut config) => {
            // An empty context counts as unset and must not override that of the next file.
            config.current_context = config.current_context.filter(|name| !name.is_empty());
            Ok(Some(config))
        }
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(load_error(path, &error)),
    }
}

fn is_broken_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) && bytes.len() % 2 == 1
}

fn load_error(path: &Path, error: &KubeconfigError) -> Error {
    let message = match error {
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    };
    // The first line has the reason; the YAML parser adds an excerpt of the file.
    let message = message.lines().next().unwrap_or_default().trim_end_matches(':').to_owned();
    Error::setup(format!("error loading config file \"{}\": {message}", path.display()))
}

/// Cluster, user and namespace that flags and kubeconfig select.
pub(super) struct SelectedContext {
    pub(super) cluster: Cluster,
    pub(super) user: AuthInfo,
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
        let mut cluster =
            match find(&config.clusters, cluster_name, |named| (&named.name, &named.cluster)) {
                Some(cluster) => cluster,
                None if flags.server.is_some() && flags.cluster.is_none() => Cluster::default(),
                None => {
                    return Err(missing_name(
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
                    missing_name(
                        "auth info",
                        name,
                        config.auth_infos.iter().map(|named| &named.name),
                    )
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
        let display_name = user_name.map_or("the command line", String::as_str);
        credentials::validate(&user, display_name)?;
        Ok(Self { cluster, user, namespace: context.namespace, credentials })
    }

    /// Replaces the description of the credentials, unless flags override the credentials.
    pub(super) fn with_credentials_name(self, name: &str, flags: &ConnectionOptions) -> Self {
        let is_overridden = flags.token.is_some() || flags.client_certificate.is_some();
        Self { credentials: if is_overridden { self.credentials } else { name.to_owned() }, ..self }
    }

    /// Converts the selection to a kubeconfig with a single context.
    pub(super) fn into_kubeconfig(self) -> Kubeconfig {
        single_context("selected", self.cluster, self.user, None)
    }
}

/// Returns a kubeconfig whose only cluster, user and context have this name.
pub(super) fn single_context(
    name: &str,
    cluster: Cluster,
    user: AuthInfo,
    namespace: Option<String>,
) -> Kubeconfig {
    let name = || name.to_owned();
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: name(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(Context {
                cluster: name(),
                user: Some(name()),
                namespace,
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    }
}

fn select_context(config: &Kubeconfig, flags: &ConnectionOptions) -> Result<Context, Error> {
    let names = || config.contexts.iter().map(|named| &named.name);
    let Some(name) = flags.context.as_ref().or(config.current_context.as_ref()) else {
        // The flags alone can select a cluster.
        if flags.server.is_some() || flags.cluster.is_some() {
            return Ok(Context::default());
        }
        let existing = list_names(names());
        return Err(Error::setup(format!(
            "the kubeconfig has no current context: choose one with --context or \"kubectl config use-context\" ({existing})"
        )));
    };
    find(&config.contexts, name, |named| (&named.name, &named.context))
        .ok_or_else(|| missing_name("context", name, names()))
}

/// Returns the first entry with the name. kube merges duplicates when it reads files.
fn find<'a, N, T: Clone + 'a>(
    all: &'a [N],
    name: &String,
    parts: impl Fn(&'a N) -> (&'a String, &'a Option<T>),
) -> Option<T> {
    all.iter().map(parts).find(|(found, _)| *found == name).and_then(|(_, value)| value.clone())
}

fn missing_name<'a>(kind: &str, name: &str, all: impl Iterator<Item = &'a String>) -> Error {
    Error::setup(format!(
        "{kind} \"{name}\" does not exist in the kubeconfig ({})",
        list_names(all)
    ))
}

fn list_names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    const MAX_NAMES: usize = 20;
    let all: BTreeSet<&str> = all.map(String::as_str).collect();
    if all.is_empty() {
        return "it has none".to_owned();
    }
    let shown: Vec<&str> = all.iter().copied().take(MAX_NAMES).collect();
    let more = if all.len() > MAX_NAMES { ", …" } else { "" };
    format!("it has {}{more}", shown.join(", "))
}

/// Unsets flags with an empty value, as kubectl does.
fn without_empty_flags(flags: &ConnectionOptions) -> ConnectionOptions {
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

fn override_cluster(cluster: &mut Cluster, flags: &ConnectionOptions) -> Result<(), Error> {
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
    // Empty settings count as unset.
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
        // kubectl rejects the combination too.
        return Err(Error::setup(
            "specifying a root certificates file with the insecure flag is not allowed: remove certificate-authority or insecure-skip-tls-verify from the kubeconfig",
        ));
    }
    Ok(())
}

fn override_user(user: &mut AuthInfo, flags: &ConnectionOptions) -> Result<(), Error> {
    if let Some(token) = &flags.token {
        // Deserialized, because the field's type is that of a crate that is no direct dependency.
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
            // A token remains set, so that validation rejects two authentication methods as kubectl
            // does.
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
