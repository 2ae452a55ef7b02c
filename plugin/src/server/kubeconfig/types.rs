//! Contexts, clusters and users of a kubeconfig.
//!
//! The types have no `Debug`, because a user holds secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::{Fields, Problem};

/// Name of the extension of a cluster that configures credential plugins.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// Cluster, user and namespace that belong together.
#[derive(Clone, Default)]
pub(in crate::server) struct Context {
    pub(in crate::server) cluster: String,
    pub(in crate::server) user: Option<String>,
    pub(in crate::server) namespace: Option<String>,
}

/// API server and how to verify it.
#[derive(Clone, Default)]
pub(in crate::server) struct Cluster {
    pub(in crate::server) server: Option<String>,
    pub(in crate::server) insecure_skip_tls_verify: bool,
    pub(in crate::server) certificate_authority: Option<String>,
    /// Certificates in base64, which override those of the file.
    pub(in crate::server) certificate_authority_data: Option<String>,
    pub(in crate::server) proxy_url: Option<String>,
    pub(in crate::server) tls_server_name: Option<String>,
    pub(in crate::server) disable_compression: bool,
    /// Settings of the cluster for credential plugins.
    pub(in crate::server) plugin_settings: Option<Value>,
}

/// Credentials and impersonation.
#[derive(Clone, Default)]
pub(in crate::server) struct User {
    pub(in crate::server) token: Option<String>,
    pub(in crate::server) token_file: Option<String>,
    pub(in crate::server) username: Option<String>,
    pub(in crate::server) password: Option<String>,
    pub(in crate::server) client_certificate: Option<String>,
    /// Certificates in base64, which override those of the file.
    pub(in crate::server) client_certificate_data: Option<String>,
    pub(in crate::server) client_key: Option<String>,
    /// Key in base64, which overrides that of the file.
    pub(in crate::server) client_key_data: Option<String>,
    pub(in crate::server) impersonation: Impersonation,
    pub(in crate::server) auth_provider: Option<AuthProvider>,
    pub(in crate::server) exec: Option<Exec>,
}

/// User to act as.
#[derive(Clone, Default)]
pub(in crate::server) struct Impersonation {
    pub(in crate::server) user: Option<String>,
    pub(in crate::server) uid: Option<String>,
    pub(in crate::server) groups: Vec<String>,
    pub(in crate::server) extra: BTreeMap<String, Vec<String>>,
}

/// Credentials of an authentication provider that is built into clients.
#[derive(Clone, Default)]
pub(in crate::server) struct AuthProvider {
    pub(in crate::server) name: String,
    pub(in crate::server) config: BTreeMap<String, String>,
}

/// Credential plugin.
#[derive(Clone, Default)]
pub(in crate::server) struct Exec {
    pub(in crate::server) api_version: Option<String>,
    pub(in crate::server) command: String,
    pub(in crate::server) args: Vec<String>,
    pub(in crate::server) env: Vec<(String, String)>,
    pub(in crate::server) install_hint: Option<String>,
    pub(in crate::server) interactive_mode: Option<String>,
    pub(in crate::server) provide_cluster_info: bool,
}

impl Context {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        Ok(Self {
            cluster: fields.text("cluster")?.unwrap_or_default(),
            user: fields.text("user")?,
            namespace: fields.text("namespace")?,
        })
    }
}

impl Cluster {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        let mut plugin_settings = None;
        for extension in fields.maps("extensions")? {
            if extension.text("name")?.as_deref() == Some(EXEC_EXTENSION) {
                plugin_settings = extension.value("extension");
            }
        }
        Ok(Self {
            server: fields.text("server")?.map(|server| server.trim().to_owned()),
            insecure_skip_tls_verify: fields.flag("insecure-skip-tls-verify")?,
            certificate_authority: fields.path("certificate-authority")?,
            certificate_authority_data: fields.text("certificate-authority-data")?,
            proxy_url: fields.text("proxy-url")?,
            tls_server_name: fields.text("tls-server-name")?,
            disable_compression: fields.flag("disable-compression")?,
            plugin_settings,
        })
    }
}

impl User {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        Ok(Self {
            token: fields.text("token")?,
            token_file: fields.path("tokenFile")?,
            username: fields.text("username")?,
            password: fields.text("password")?,
            client_certificate: fields.path("client-certificate")?,
            client_certificate_data: fields.text("client-certificate-data")?,
            client_key: fields.path("client-key")?,
            client_key_data: fields.text("client-key-data")?,
            impersonation: Impersonation {
                user: fields.text("as")?,
                uid: fields.text("as-uid")?,
                groups: fields.texts("as-groups")?,
                extra: fields.texts_map("as-user-extra")?,
            },
            auth_provider: match fields.map("auth-provider")? {
                Some(provider) => Some(AuthProvider {
                    name: provider.text("name")?.unwrap_or_default(),
                    config: provider.text_map("config")?,
                }),
                None => None,
            },
            exec: fields.map("exec")?.map(|exec| Exec::parse(&exec)).transpose()?,
        })
    }
}

impl Exec {
    fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        let mut env = Vec::new();
        for variable in fields.maps("env")? {
            let name = variable.text("name")?.unwrap_or_default();
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Problem::new("a variable in \"exec.env\" has no usable name"));
            }
            env.push((name, variable.text("value")?.unwrap_or_default()));
        }
        Ok(Self {
            api_version: fields.text("apiVersion")?,
            command: fields.command("command")?.unwrap_or_default(),
            args: fields.texts("args")?,
            env,
            install_hint: fields.text("installHint")?,
            interactive_mode: fields.text("interactiveMode")?,
            provide_cluster_info: fields.flag("provideClusterInfo")?,
        })
    }
}
