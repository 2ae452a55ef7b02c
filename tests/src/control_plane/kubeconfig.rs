//! Kubeconfigs for arbitrary users and service accounts.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use kube::{Client, Config};

use super::error::Error;
use super::pki::Pki;

const CLUSTER: &str = "local";

/// The user that a client certificate authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) uid: Option<String>,
}

impl Identity {
    /// Returns a user in the given groups, to which the API server adds `system:authenticated`.
    pub fn new<G: Into<String>>(
        user: impl Into<String>,
        groups: impl IntoIterator<Item = G>,
    ) -> Self {
        Self { user: user.into(), groups: groups.into_iter().map(Into::into).collect(), uid: None }
    }

    /// Returns a user with unrestricted access.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("admin", ["system:masters"])
    }

    /// Sets the uid, which users of most clusters lack.
    #[must_use]
    pub fn with_uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }
}

/// A kubeconfig and the file that stores it in the control plane's folder.
#[derive(Clone, Debug)]
pub struct KubeconfigFile {
    path: PathBuf,
    config: Kubeconfig,
}

impl KubeconfigFile {
    pub(crate) fn write(path: PathBuf, config: Kubeconfig) -> Result<Self, Error> {
        let text =
            serde_saphyr::to_string(&config).map_err(|e| Error::Kubeconfig(e.to_string()))?;
        std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(Self { path, config })
    }

    /// Returns the path for `KUBECONFIG` or `--kubeconfig`, removed with the control plane.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content of the file.
    #[must_use]
    pub fn config(&self) -> &Kubeconfig {
        &self.config
    }

    /// Returns a client for the current context.
    ///
    /// A client is bound to the runtime that creates it, so each `#[tokio::test]` needs its own.
    pub async fn client(&self) -> Result<Client, Error> {
        self.client_with_options(KubeConfigOptions::default()).await
    }

    /// Returns a client for the named context.
    pub async fn client_for_context(&self, context: &str) -> Result<Client, Error> {
        self.client_with_options(KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        })
        .await
    }

    async fn client_with_options(&self, options: KubeConfigOptions) -> Result<Client, Error> {
        let mut config = Config::from_custom_kubeconfig(self.config.clone(), &options)
            .await
            .map_err(|e| Error::Kubeconfig(e.to_string()))?;
        // kube uses the proxy of the environment even for loopback addresses.
        config.proxy_url = None;
        Ok(Client::try_from(config)?)
    }
}

/// A credential of a kubeconfig's user.
pub(crate) enum Credential<'a> {
    Certificate(&'a Identity),
    Token(String),
}

/// Builds a kubeconfig with a context for each credential. The first context is the current one.
pub(crate) fn build_kubeconfig(
    pki: &Pki,
    server: &str,
    contexts: &[(&str, Credential<'_>)],
) -> Result<Kubeconfig, Error> {
    let users = contexts
        .iter()
        .map(|(name, credential)| {
            Ok(NamedAuthInfo {
                name: (*name).to_owned(),
                auth_info: Some(auth_info(pki, credential)?),
                ..NamedAuthInfo::default()
            })
        })
        .collect::<Result<_, Error>>()?;
    let named_contexts = contexts
        .iter()
        .map(|(name, _)| NamedContext {
            name: (*name).to_owned(),
            context: Some(Context {
                cluster: CLUSTER.to_owned(),
                user: Some((*name).to_owned()),
                namespace: Some("default".to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        })
        .collect();
    Ok(Kubeconfig {
        api_version: Some("v1".to_owned()),
        kind: Some("Config".to_owned()),
        clusters: vec![NamedCluster {
            name: CLUSTER.to_owned(),
            cluster: Some(Cluster {
                server: Some(server.to_owned()),
                certificate_authority_data: Some(STANDARD.encode(pki.serving_ca())),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: users,
        contexts: named_contexts,
        current_context: contexts.first().map(|(name, _)| (*name).to_owned()),
        ..Kubeconfig::default()
    })
}

fn auth_info(pki: &Pki, credential: &Credential<'_>) -> Result<AuthInfo, Error> {
    match credential {
        Credential::Token(token) => {
            Ok(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() })
        }
        Credential::Certificate(identity) => {
            let (certificate, key) = pki.issue_client_certificate(identity)?;
            Ok(AuthInfo {
                client_certificate_data: Some(STANDARD.encode(certificate)),
                client_key_data: Some(STANDARD.encode(key).into()),
                ..AuthInfo::default()
            })
        }
    }
}
