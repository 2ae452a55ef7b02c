//! Credential plugins, as client-go runs them.

use std::{io::IsTerminal, path::PathBuf, process::Stdio};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use mirrord_sessions_core::text::printable;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

#[cfg(unix)]
use super::cache::Cache;
use super::{TerminalUse, identity::Identity};
use crate::{
    error::Error,
    server::kubeconfig::{Cluster, Exec},
};

/// Variable that passes the request to a plugin.
const REQUEST: &str = "KUBERNETES_EXEC_INFO";
/// Size limit of an answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Size limit of an install hint in an error message, in characters.
const MAX_HINT: usize = 1000;

/// Information about the cluster that a plugin may ask for.
#[derive(Clone, Default)]
pub(in crate::server) struct ClusterInfo(Value);

impl ClusterInfo {
    /// Describes a cluster with the certificates that verify its server, in PEM.
    pub(in crate::server) fn new(cluster: &Cluster, authority: Option<&[u8]>) -> Self {
        let mut info = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            info.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |text: &Option<String>| text.clone().map(Value::String);
        let flag = |flag: bool| flag.then_some(Value::Bool(true));
        add("server", text(&cluster.server));
        add("tls-server-name", text(&cluster.tls_server_name));
        add("insecure-skip-tls-verify", flag(cluster.insecure_skip_tls_verify));
        add("certificate-authority-data", authority.map(|pem| STANDARD.encode(pem).into()));
        add("proxy-url", text(&cluster.proxy_url));
        add("disable-compression", flag(cluster.disable_compression));
        add("config", cluster.plugin_settings.clone());
        Self(Value::Object(info))
    }
}

/// Standard input of a plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stdin {
    /// A terminal that the plugin may read.
    Terminal,
    /// No terminal, or one that belongs to another program.
    Unavailable,
}

impl Stdin {
    pub(super) fn detect(terminal: TerminalUse) -> Self {
        if terminal == TerminalUse::Full && std::io::stdin().is_terminal() {
            Self::Terminal
        } else {
            Self::Unavailable
        }
    }
}

/// Credential plugin of a user.
pub(super) struct Plugin {
    exec: Exec,
    /// Describes the plugin for error messages.
    description: String,
    cluster: ClusterInfo,
    #[cfg(unix)]
    cache: Option<Cache>,
}

/// Answer of a plugin.
pub(super) struct Answer {
    pub(super) token: Option<String>,
    pub(super) identity: Option<Identity>,
    pub(super) expires_at: Option<Timestamp>,
}

impl Plugin {
    pub(super) fn new(exec: Exec, user: &str, cluster: ClusterInfo, home: Option<PathBuf>) -> Self {
        #[cfg(not(unix))]
        drop(home);
        let description = format!("the credential plugin \"{}\" of {user}", exec.command);
        Self {
            exec,
            description,
            cluster,
            #[cfg(unix)]
            cache: Cache::find(|name| std::env::var(name).ok(), home),
        }
    }

    /// Returns the last answer of the plugin, if it has not expired.
    #[cfg(unix)]
    pub(super) fn cached(&self, now: Timestamp) -> Option<Answer> {
        let answer = self.cache.as_ref()?.read(&self.cache_key(), now)?;
        parse_answer(answer.as_bytes(), self.api_version()).ok()
    }

    /// Identifies the plugin with its settings and the cluster in the cache.
    #[cfg(unix)]
    fn cache_key(&self) -> String {
        let Exec { api_version, command, args, env, provide_cluster_info, .. } = &self.exec;
        json!([api_version, command, args, env, provide_cluster_info, self.cluster.0]).to_string()
    }

    #[cfg(unix)]
    fn store(&self, stdout: &[u8], answer: &Answer) {
        let (Some(cache), Ok(text)) = (&self.cache, std::str::from_utf8(stdout)) else {
            return;
        };
        match answer.expires_at {
            Some(time) => cache.write(&self.cache_key(), text, time, Timestamp::now()),
            // Without an expiry, nobody knows how long the answer may be used.
            None => cache.remove(&self.cache_key()),
        }
    }

    fn api_version(&self) -> &str {
        self.exec.api_version.as_deref().unwrap_or_default()
    }

    pub(super) fn description(&self) -> &str {
        &self.description
    }

    /// Runs the plugin and returns its answer.
    ///
    /// # Errors
    /// Fails if the plugin needs a terminal that it cannot have, fails, or answers something else.
    pub(super) async fn run(&self, stdin: Stdin, terminal: TerminalUse) -> Result<Answer, Error> {
        let failure = |reason: String| Error::credentials(format!("{} {reason}", self.description));
        let mode = self.exec.interactive_mode.as_deref();
        let interactive = is_interactive(mode, stdin).map_err(|r| failure(r.to_owned()))?;
        let mut child = self
            .command(interactive, terminal)
            .spawn()
            .map_err(|error| failure(start_error(&error, self.exec.install_hint.as_deref())))?;
        let stdout = read_output(&mut child).await.map_err(&failure)?;
        let status = child.wait().await.map_err(|error| failure(format!("failed: {error}")))?;
        if !status.success() {
            let ending = match status.code() {
                Some(code) => format!("failed with exit code {code}"),
                None => format!("was ended ({status})"),
            };
            let seen = if terminal == TerminalUse::None { "" } else { ": see its message above" };
            return Err(failure(format!("{ending}{seen}")));
        }
        let answer = parse_answer(&stdout, self.api_version()).map_err(failure)?;
        #[cfg(unix)]
        self.store(&stdout, &answer);
        Ok(answer)
    }

    fn command(&self, interactive: bool, terminal: TerminalUse) -> Command {
        let cluster = self.exec.provide_cluster_info.then_some(&self.cluster.0);
        let variables = self.exec.env.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(&self.exec.command);
        command
            .args(&self.exec.args)
            .envs(variables)
            .env(REQUEST, request(self.api_version(), interactive, cluster).to_string())
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            // Plugins print what the user has to do, as to open a page in a browser.
            .stderr(if terminal == TerminalUse::None { Stdio::null() } else { Stdio::inherit() })
            .kill_on_drop(true);
        command
    }
}

async fn read_output(child: &mut Child) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut limited = stdout.take(MAX_ANSWER + 1);
        limited.read_to_end(&mut bytes).await.map_err(|error| format!("failed: {error}"))?;
    }
    if bytes.len() as u64 > MAX_ANSWER {
        return Err("printed more than a credential: it must print an ExecCredential".to_owned());
    }
    Ok(bytes)
}

/// Decides whether a plugin may read from the terminal.
fn is_interactive(mode: Option<&str>, stdin: Stdin) -> Result<bool, &'static str> {
    match (mode, stdin) {
        (Some("Never"), _) => Ok(false),
        (Some("Always"), Stdin::Unavailable) => Err(
            "asks its user on the terminal (interactiveMode: Always), and standard input is not a terminal, or belongs to another program",
        ),
        (_, stdin) => Ok(stdin == Stdin::Terminal),
    }
}

fn request(api_version: &str, interactive: bool, cluster: Option<&Value>) -> Value {
    let mut spec = json!({ "interactive": interactive });
    if let Some(cluster) = cluster {
        spec["cluster"] = cluster.clone();
    }
    json!({ "apiVersion": api_version, "kind": "ExecCredential", "spec": spec })
}

/// Describes why a plugin could not be started.
fn start_error(error: &std::io::Error, hint: Option<&str>) -> String {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "is not installed: the command was not found".to_owned(),
        std::io::ErrorKind::PermissionDenied => "cannot be run: it is not executable".to_owned(),
        _ => format!("cannot be run: {error}"),
    };
    // Errors are a single line.
    let hint = hint.map(|hint| hint.split_whitespace().collect::<Vec<_>>().join(" "));
    let hint = hint.map(|hint| printable(&hint, MAX_HINT));
    match hint.filter(|hint| !hint.is_empty()) {
        Some(hint) => format!("{reason}: {hint}"),
        None => format!("{reason}: install it, or check \"exec\" in the kubeconfig"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCredential {
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<WireStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatus {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Parses the answer of a plugin, in JSON or YAML like client-go.
fn parse_answer(stdout: &[u8], api_version: &str) -> Result<Answer, String> {
    // The parser's message may contain an excerpt with the credential.
    let answer: WireCredential = serde_saphyr::from_slice(stdout)
        .map_err(|_| "printed something other than an ExecCredential".to_owned())?;
    if answer.kind.as_deref().is_some_and(|kind| kind != "ExecCredential") {
        return Err("printed something other than an ExecCredential".to_owned());
    }
    if let Some(version) = answer.api_version
        && version != api_version
    {
        return Err(format!(
            "is configured to use API version {api_version}, and returned version {}",
            printable(&version, 100)
        ));
    }
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let status = answer.status.ok_or("returned no credential: it has no status")?;
    let token = non_empty(status.token);
    let certificate = non_empty(status.client_certificate_data);
    let key = non_empty(status.client_key_data);
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let identity = Identity::parse(certificate.as_bytes(), key.as_bytes());
            Some(identity.map_err(|reason| format!("returned an unusable credential: {reason}"))?)
        }
        (None, None) if token.is_none() => {
            return Err("returned neither a token nor a client certificate".to_owned());
        }
        (None, None) => None,
        _ => return Err("returned only one of client certificate and key".to_owned()),
    };
    let expires_at = non_empty(status.expiration_timestamp)
        .map(|time| time.parse().map_err(|_| "returned an invalid expirationTimestamp".to_owned()));
    Ok(Answer { token, identity, expires_at: expires_at.transpose()? })
}

#[cfg(test)]
mod tests;
