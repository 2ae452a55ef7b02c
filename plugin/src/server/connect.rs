//! From flags and kubeconfig to a client.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueHint};
use http::{HeaderName, HeaderValue, header};
use kube::{
    Config,
    client::{AuthError, ClientBuilder},
    config::{AuthInfo, ExecInteractiveMode, Kubeconfig},
};

use super::{
    Server, in_cluster,
    kubeconfig::{Files, Selected},
    log::Log,
    proxy,
    wire::encoded,
};
use crate::{
    error::{Error, Transport},
    home,
};

/// A server that doesn't even accept a connection for this long won't.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How this program calls itself.
const AGENT: &str = concat!("kubectl-mirrord_sessions/", env!("CARGO_PKG_VERSION"));

/// Which cluster, as which user: kubectl's flags.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Namespace to work in, instead of the context's
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = namespace, allow_hyphen_values = false)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file to use, instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// User to act as, as system:serviceaccount:NAMESPACE:NAME for a service account
    #[arg(long = "as", global = true, value_name = "USER", value_parser = header_text)]
    pub impersonate: Option<String>,
    /// Group to act as; may be given several times
    #[arg(long = "as-group", global = true, value_name = "GROUP", value_parser = header_text)]
    pub impersonate_groups: Vec<String>,
    /// Uid to act as
    #[arg(long = "as-uid", global = true, value_name = "UID", value_parser = header_text, hide_short_help = true)]
    pub impersonate_uid: Option<String>,
    /// Extra value to act with, as KEY=VALUE; may be given several times
    #[arg(long = "as-user-extra", global = true, value_name = "KEY=VALUE", value_parser = extra, hide_short_help = true)]
    pub impersonate_extra: Vec<String>,
    /// Cluster of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig to use
    // Not global: where commands filter by user, their own flag has the name. See `cli::command`.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(short, long, global = true, value_name = "URL", hide_short_help = true)]
    pub server: Option<String>,
    /// Bearer token to log in with
    #[arg(long, global = true, value_name = "TOKEN", value_parser = header_text, hide_short_help = true)]
    pub token: Option<String>,
    /// User name for basic authentication, which few API servers know
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub username: Option<String>,
    /// Password for basic authentication
    #[arg(long, global = true, value_name = "PASSWORD", hide_short_help = true)]
    pub password: Option<String>,
    /// File with the certificate authority of the API server
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub certificate_authority: Option<String>,
    /// Name to expect in the API server's certificate
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// File with the certificate to log in with
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_certificate: Option<String>,
    /// File with the private key of --client-certificate
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_key: Option<String>,
    /// Don't check the API server's certificate: anybody in between can read and change everything
    #[arg(long, global = true, hide_short_help = true)]
    pub insecure_skip_tls_verify: bool,
    /// How long to wait for an answer, as 5s or 2m; 0 is forever
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout, default_value = "0", hide_short_help = true)]
    pub request_timeout: Timeout,
    /// What to show of requests: 6 each with its status and time, 7 headers, 8 to 10 bodies;
    /// secrets are masked
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL", value_parser = level, default_value = "0", hide_short_help = true, allow_negative_numbers = true)]
    pub verbosity: i32,
    /// Whether nobody is there to be asked for a password: what is typed is for somebody else.
    #[arg(skip)]
    pub unattended: bool,
}

/// How long to wait for an answer; `None` is forever.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timeout(pub Option<Duration>);

impl Server {
    /// Prepares the connection; nothing is sent yet.
    pub async fn connect(flags: &Connection) -> Result<Self, Error> {
        let mut log = Log { level: flags.verbosity, ..Log::default() };
        let variable = |name: &str| std::env::var(name).ok();
        let files = Files::of(
            flags.kubeconfig.as_deref(),
            std::env::var_os("KUBECONFIG").as_deref(),
            home::of_process(),
        );
        let found = files.read(|path| {
            log.say(6, &format!("Config loaded from file:  {}", path.display()));
        })?;
        let pod = || in_cluster::kubeconfig(Path::new(in_cluster::ACCOUNT), variable);
        let mut selected = match (found, flags.context.as_deref()) {
            (Some(kubeconfig), _) => Selected::of(&kubeconfig, flags)?,
            (None, Some(name)) if !name.is_empty() => {
                return Err(Error::setup(format!(
                    "context \"{name}\" does not exist: there is no kubeconfig (looked in {})",
                    files.looked_in()
                )));
            }
            (None, _) => match pod() {
                Some(pod) => {
                    log.say(6, "Using in-cluster configuration");
                    let selected = Selected::of(&pod, flags)?;
                    selected.called("this pod's service account", flags)
                }
                None if flags.server.is_some() => Selected::of(&Kubeconfig::default(), flags)?,
                None => {
                    return Err(Error::setup(format!(
                        "there is no kubeconfig (looked in {}): set KUBECONFIG or give --kubeconfig",
                        files.looked_in()
                    )));
                }
            },
        };
        if let (true, Some(exec)) = (flags.unattended, &mut selected.user.exec) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        let (namespace, credentials) = (selected.namespace.clone(), selected.credentials.clone());
        let mut config = configured(selected).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube would try again for minutes where a person wants to know; see `RETRIES`.
        config.default_retry = false;
        config.headers.push((header::USER_AGENT, HeaderValue::from_static(AGENT)));
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
        log.headers = headers(&config.auth_info);
        let client =
            ClientBuilder::try_from(config).map_err(|error| failed(&host, &error))?.build();
        Ok(Self {
            client,
            host,
            credentials,
            namespace,
            timeout: flags.request_timeout.0,
            log,
            found: tokio::sync::OnceCell::new(),
        })
    }
}

/// The server's address, without a password that somebody may have put into it.
fn host(config: &Config) -> String {
    let authority = config.cluster_url.authority().map(ToString::to_string);
    let authority = authority.unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => authority,
    }
}

/// What every request carries, for `-v`.
fn headers(user: &AuthInfo) -> Vec<(String, String)> {
    let mut headers = vec![("Accept", "application/json"), ("User-Agent", AGENT)];
    if user.token.is_some() || user.token_file.is_some() || user.exec.is_some() {
        headers.push(("Authorization", "Bearer x"));
    } else if user.username.is_some() {
        headers.push(("Authorization", "Basic x"));
    }
    let groups = user.impersonate_groups.iter().flatten();
    headers.extend(groups.map(|group| ("Impersonate-Group", &**group)));
    headers.extend(user.impersonate_uid.iter().map(|uid| ("Impersonate-Uid", &**uid)));
    headers.extend(user.impersonate.iter().map(|name| ("Impersonate-User", &**name)));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    headers.into_iter().map(owned).collect()
}

async fn configured(mut selected: Selected) -> Result<Config, Error> {
    let proxy = proxy::select(&mut selected.cluster, |name| std::env::var(name).ok())?;
    let mut config = Config::from_custom_kubeconfig(
        selected.alone(),
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

/// A failure of the client, without the layers it came through.
pub(super) fn failed(host: &str, error: &kube::Error) -> Error {
    if let kube::Error::Auth(error) = error {
        return Error::setup(credentials_failed(error));
    }
    match error {
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            Error::Transport(Transport::from_error(host, error))
        }
        other => Error::setup(format!("the kubeconfig cannot be used: {other}")),
    }
}

fn credentials_failed(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(error) => format!(
            "the credential plugin that the kubeconfig names cannot be run: {error}: install it, or check \"exec\" in the kubeconfig"
        ),
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("the credential plugin {cmd} failed ({}) {last}", out.status)
        }
        other => format!("the credentials of the kubeconfig cannot be used: {other}"),
    }
}

fn namespace(text: &str) -> Result<String, String> {
    const LONGEST: usize = 63;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= LONGEST
        && text.bytes().all(good)
        && !text.starts_with('-')
        && !text.ends_with('-')
    {
        Ok(text.to_owned())
    } else {
        Err("a namespace is at most 63 lower case letters, digits and '-'".to_owned())
    }
}

fn header_text(text: &str) -> Result<String, String> {
    HeaderValue::from_str(text)
        .map(|_| text.to_owned())
        .map_err(|_| "control characters are not allowed".to_owned())
}

/// Extra values to act with; keys are percent-encoded, since headers are not told apart by case.
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
        let name = format!("impersonate-extra-{}", encoded(key));
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

fn extra(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => header_text(text),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

fn timeout(text: &str) -> Result<Timeout, String> {
    let duration = match text.parse() {
        _ if text.is_empty() => Duration::ZERO,
        Ok(seconds) => Duration::from_secs(seconds),
        // kubectl's words.
        Err(_) => humantime::parse_duration(text).map_err(|_| {
            "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)".to_owned()
        })?,
    };
    Ok(Timeout(Some(duration).filter(|duration| !duration.is_zero())))
}

fn level(text: &str) -> Result<i32, String> {
    i32::try_from(crate::number::integer(text)?)
        .map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let cases = [
            ("0", Some(None)),
            ("0s", Some(None)),
            ("5", Some(Some(5_000))),
            ("5s", Some(Some(5_000))),
            ("1m30s", Some(Some(90_000))),
            ("500ms", Some(Some(500))),
            ("-1s", None),
            ("soon", None),
            ("", Some(None)),
            ("18446744073709551616", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|millis| Timeout(millis.map(Duration::from_millis)));
            assert_eq!(timeout(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn namespaces() {
        for good in ["", "default", "a-1"] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["A", "a/b", "..", "-a", "a-", "a b", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad:?}");
        }
    }
}
