//! Connection setup from flags, kubeconfig and environment.

use std::{path::Path, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::OnceCell;

use super::{
    client::Server,
    credentials::{ClusterInfo, Credentials},
    in_cluster::{InCluster, SERVICE_ACCOUNT},
    kubeconfig::{Impersonation, Kubeconfig, KubeconfigFiles, SelectedContext},
    proxy,
    request_log::RequestLog,
    transport::{Address, ServerVerification, Transport, load_authority},
    url::encode,
    warning::WarningWriter,
};
use crate::{cli::ConnectionOptions, error::Error, home};

/// Limit of the time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("kubectl-mirrord_sessions/", env!("CARGO_PKG_VERSION"));

impl Server {
    /// Prepares a connection without sending a request. Obtains the credentials.
    pub async fn connect(flags: &ConnectionOptions) -> Result<Self, Error> {
        let mut log = RequestLog { level: flags.verbosity, ..RequestLog::default() };
        let context = select_context(flags, &log)?;
        let SelectedContext { cluster, user, namespace, credentials: mut credentials_name } =
            context;
        let server = cluster.server.as_deref().unwrap_or_default();
        let authority = load_authority(&cluster)?;
        let has_tls_settings = authority.is_some() || cluster.insecure_skip_tls_verify;
        let address = Address::parse(server, has_tls_settings)?;
        let verification = address
            .is_tls()
            .then(|| ServerVerification::new(&cluster, authority.as_deref()))
            .transpose()?;
        let proxy = proxy::select(cluster.proxy_url.as_deref(), &address.url, |name| {
            std::env::var(name).ok()
        })?;
        let impersonation = headers(&user.impersonation)?;
        // Like kubectl, never sends credentials over a network without TLS.
        let credentials = if address.is_tls() || address.is_loopback() {
            let cluster = ClusterInfo::new(&cluster, authority.as_deref());
            Credentials::new(user, &credentials_name, cluster, flags.terminal, home::home_dir())?
        } else {
            credentials_name.push_str(" (which are not sent without TLS)");
            Credentials::none()
        };
        log.url = address.url.to_string();
        log.headers = logged_headers(credentials.scheme(), &impersonation);
        let mut headers = impersonation;
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let server_name = cluster.tls_server_name.as_deref();
        let host = address.host.clone();
        let transport =
            Transport::new(address, headers, verification, server_name, proxy, CONNECT_TIMEOUT)?;
        let credential = credentials.current().await?;
        transport.prepare(credential.identity.as_ref()).await?;
        let namespace = flags.namespace.clone().filter(|name| !name.is_empty()).or(namespace);
        Ok(Self {
            transport,
            credentials,
            host,
            credentials_name,
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            timeout: flags.request_timeout.0,
            log,
            warnings: WarningWriter::default(),
            discovery: OnceCell::new(),
        })
    }
}

/// Selects cluster, user and namespace from the kubeconfig, or else from the pod's service account.
fn select_context(flags: &ConnectionOptions, log: &RequestLog) -> Result<SelectedContext, Error> {
    let variable = flags.kubeconfig_list.clone().or_else(|| std::env::var_os("KUBECONFIG"));
    let files =
        KubeconfigFiles::new(flags.kubeconfig.as_deref(), variable.as_deref(), home::home_dir());
    let kubeconfig = files.read(|path| {
        log.log(6, &format!("Config loaded from file:  {}", path.display()));
    })?;
    if let Some(kubeconfig) = kubeconfig {
        return SelectedContext::select(&kubeconfig, flags);
    }
    if let Some(name) = flags.context.as_deref().filter(|name| !name.is_empty()) {
        return Err(Error::setup(format!(
            "context \"{name}\" does not exist: there is no kubeconfig (looked in {})",
            files.display()
        )));
    }
    if let Some(pod) = InCluster::find(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())
    {
        log.log(6, "Using in-cluster configuration");
        return pod.select(flags);
    }
    if flags.server.is_some() {
        return SelectedContext::select(&Kubeconfig::default(), flags);
    }
    Err(Error::setup(format!(
        "there is no kubeconfig (looked in {}): set KUBECONFIG or give --kubeconfig",
        files.display()
    )))
}

/// Returns the headers of every request for the request log, with placeholders for credentials.
fn logged_headers(scheme: Option<&str>, impersonation: &HeaderMap) -> Vec<(String, String)> {
    let mut headers = vec![
        ("Accept".to_owned(), "application/json".to_owned()),
        ("User-Agent".to_owned(), USER_AGENT.to_owned()),
    ];
    headers.extend(scheme.map(|scheme| ("Authorization".to_owned(), format!("{scheme} x"))));
    let capitalize = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => word.to_owned(),
    };
    let shown = impersonation.iter().map(|(name, value)| {
        let name: Vec<String> = name.as_str().split('-').map(capitalize).collect();
        (name.join("-"), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    headers.extend(shown);
    headers
}

/// Returns the headers that impersonate a user.
///
/// Keys of extra values are percent-encoded, because header names are case-insensitive.
fn headers(impersonation: &Impersonation) -> Result<HeaderMap, Error> {
    let Impersonation { user, uid, groups, extra } = impersonation;
    let single = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| (name.to_owned(), value.clone()))
    };
    let groups = groups.iter().map(|group| ("impersonate-group".to_owned(), group.clone()));
    let extra = extra.iter().flat_map(|(key, values)| {
        let name = format!("impersonate-extra-{}", encode(key));
        values.iter().map(move |value| (name.clone(), value.clone()))
    });
    let pairs = single("impersonate-user", user)
        .into_iter()
        .chain(single("impersonate-uid", uid))
        .chain(groups)
        .chain(extra);
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let unusable = || {
            Error::setup(format!(
                "{value:?} cannot be impersonated: control characters are not allowed in \"as\" of the kubeconfig and in --as"
            ))
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        headers.append(name, HeaderValue::from_str(&value).map_err(|_| unusable())?);
    }
    Ok(headers)
}
