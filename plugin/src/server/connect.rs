//! Connection setup from flags, kubeconfig and environment.

use std::{path::Path, time::Duration};

use http::{HeaderName, HeaderValue, header};
use kube::{
    Config,
    client::ClientBuilder,
    config::{AuthInfo, ExecInteractiveMode, Kubeconfig},
};
use tokio::sync::OnceCell;

use super::{
    client::{Server, client_error},
    in_cluster,
    kubeconfig::{KubeconfigFiles, SelectedContext},
    proxy,
    request_log::RequestLog,
    url::encode,
};
use crate::{cli::ConnectionOptions, error::Error, home};

/// Limit of the time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("kubectl-mirrord_sessions/", env!("CARGO_PKG_VERSION"));

impl Server {
    /// Prepares a connection without sending a request.
    pub async fn connect(flags: &ConnectionOptions) -> Result<Self, Error> {
        let mut log = RequestLog { level: flags.verbosity, ..RequestLog::default() };
        let mut context = select_context(flags, &log)?;
        if let (true, Some(exec)) = (flags.non_interactive, &mut context.user.exec) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        let (namespace, credentials) = (context.namespace.clone(), context.credentials.clone());
        let mut config = client_config(context).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube retries for minutes, while the user waits for an error message. `client::RETRIES`
        // applies instead.
        config.default_retry = false;
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        let impersonates = config.auth_info.impersonate.is_some();
        config.headers.extend(extra_headers(&flags.impersonate_extra, impersonates)?);
        let namespace = flags
            .namespace
            .clone()
            .filter(|name| !name.is_empty())
            .or(namespace)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let host = host(&config);
        log.url = format!(
            "{}://{host}{}",
            config.cluster_url.scheme_str().unwrap_or_default(),
            config.cluster_url.path()
        );
        log.headers = logged_headers(&config.auth_info);
        let client =
            ClientBuilder::try_from(config).map_err(|error| client_error(&host, &error))?.build();
        Ok(Self {
            client,
            host,
            credentials,
            namespace,
            timeout: flags.request_timeout.0,
            log,
            discovery: OnceCell::new(),
        })
    }
}

/// Selects cluster, user and namespace from the kubeconfig, or else from the pod's service account.
fn select_context(flags: &ConnectionOptions, log: &RequestLog) -> Result<SelectedContext, Error> {
    let variable = |name: &str| std::env::var(name).ok();
    let files = KubeconfigFiles::new(
        flags.kubeconfig.as_deref(),
        std::env::var_os("KUBECONFIG").as_deref(),
        home::home_dir(),
    );
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
    if let Some(pod) = in_cluster::kubeconfig(Path::new(in_cluster::SERVICE_ACCOUNT), variable) {
        log.log(6, "Using in-cluster configuration");
        let context = SelectedContext::select(&pod, flags)?;
        return Ok(context.with_credentials_name("this pod's service account", flags));
    }
    if flags.server.is_some() {
        return SelectedContext::select(&Kubeconfig::default(), flags);
    }
    Err(Error::setup(format!(
        "there is no kubeconfig (looked in {}): set KUBECONFIG or give --kubeconfig",
        files.display()
    )))
}

async fn client_config(mut context: SelectedContext) -> Result<Config, Error> {
    let proxy = proxy::select(&mut context.cluster, |name| std::env::var(name).ok())?;
    let mut config = Config::from_custom_kubeconfig(
        context.into_kubeconfig(),
        &kube::config::KubeConfigOptions::default(),
    )
    .await
    .map_err(|error| Error::setup(format!("the kubeconfig cannot be used: {error}")))?;
    if !matches!(config.cluster_url.scheme_str(), Some("http" | "https"))
        || config.cluster_url.authority().is_none()
    {
        return Err(Error::setup(format!(
            "\"{}\" is not the address of a server: expected https://HOST:PORT in the kubeconfig or --server",
            config.cluster_url
        )));
    }
    config.proxy_url = proxy;
    Ok(config)
}

/// Returns the server's host and port, without credentials that the URL may contain.
fn host(config: &Config) -> String {
    let authority = config.cluster_url.authority().map(ToString::to_string);
    let authority = authority.unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => authority,
    }
}

/// Returns the headers of every request for the request log, with placeholders for credentials.
fn logged_headers(user: &AuthInfo) -> Vec<(String, String)> {
    let mut headers = vec![("Accept", "application/json"), ("User-Agent", USER_AGENT)];
    if user.token.is_some() || user.token_file.is_some() || user.exec.is_some() {
        headers.push(("Authorization", "Bearer x"));
    } else if user.username.is_some() {
        headers.push(("Authorization", "Basic x"));
    }
    let groups = user.impersonate_groups.iter().flatten();
    headers.extend(groups.map(|group| ("Impersonate-Group", &**group)));
    headers.extend(user.impersonate_uid.iter().map(|uid| ("Impersonate-Uid", &**uid)));
    headers.extend(user.impersonate.iter().map(|name| ("Impersonate-User", &**name)));
    let to_owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    headers.into_iter().map(to_owned).collect()
}

/// Returns the headers of extra impersonation values.
///
/// Keys are percent-encoded, because header names are case-insensitive.
fn extra_headers(
    extra: &[String],
    impersonates: bool,
) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    if !extra.is_empty() && !impersonates {
        return Err(Error::setup(
            "requesting user-extra without impersonating a user: give --as too",
        ));
    }
    let header = |pair: &String| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = format!("impersonate-extra-{}", encode(key));
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    };
    extra
        .iter()
        .map(|pair| {
            header(pair)
                .ok_or_else(|| Error::setup(format!("\"{pair}\" can't be sent as a header")))
        })
        .collect()
}
