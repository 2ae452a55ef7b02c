//! Connection flags, named as kubectl names them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};
use http::HeaderValue;

use crate::server::TerminalUse;

/// kubectl's flags that select the cluster, the credentials and the namespace.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionOptions {
    /// Namespace to use instead of the one of the context
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = namespace, allow_hyphen_values = false)]
    pub namespace: Option<String>,
    /// Kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file to use instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// User to impersonate; a service account is system:serviceaccount:NAMESPACE:NAME
    #[arg(long = "as", global = true, value_name = "USER", value_parser = header_value)]
    pub impersonate: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP", value_parser = header_value)]
    pub impersonate_groups: Vec<String>,
    /// UID to impersonate
    #[arg(long = "as-uid", global = true, value_name = "UID", value_parser = header_value, hide_short_help = true)]
    pub impersonate_uid: Option<String>,
    /// Extra value to impersonate, as KEY=VALUE; may be repeated
    #[arg(long = "as-user-extra", global = true, value_name = "KEY=VALUE", value_parser = key_value, hide_short_help = true)]
    pub impersonate_extra: Vec<String>,
    /// Kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub cluster: Option<String>,
    /// Kubeconfig user to use
    // Not global, because some commands have a --user flag that filters sessions. `cli::command`
    // adds this flag to the other commands.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(short, long, global = true, value_name = "URL", hide_short_help = true)]
    pub server: Option<String>,
    /// Bearer token for authentication to the API server
    #[arg(long, global = true, value_name = "TOKEN", value_parser = header_value, hide_short_help = true)]
    pub token: Option<String>,
    /// User name for basic authentication, which few API servers support
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub username: Option<String>,
    /// Password for basic authentication
    #[arg(long, global = true, value_name = "PASSWORD", hide_short_help = true)]
    pub password: Option<String>,
    /// File with the certificate authority of the API server
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub certificate_authority: Option<String>,
    /// Server name to expect in the API server's certificate
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// File with the client certificate for TLS
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_certificate: Option<String>,
    /// File with the private key of --client-certificate
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_key: Option<String>,
    /// Don't verify the API server's certificate; this makes the connection insecure
    #[arg(long, global = true, hide_short_help = true)]
    pub insecure_skip_tls_verify: bool,
    /// How long to wait for a response, as 5s or 2m; 0 waits forever
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout, default_value = "0", hide_short_help = true)]
    pub request_timeout: RequestTimeout,
    /// Log verbosity: 6 logs each request with its status and duration, 7 adds headers, 8 to 10 add
    /// bodies; secrets are masked
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL", value_parser = verbosity, default_value = "0", hide_short_help = true, allow_negative_numbers = true)]
    pub verbosity: i32,
    /// List of kubeconfig files to use instead of $KUBECONFIG.
    #[arg(skip)]
    pub kubeconfig_list: Option<OsString>,
    /// How a credential plugin may use the terminal.
    #[arg(skip)]
    pub terminal: TerminalUse,
}

/// Time limit of a request, or `None` for no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RequestTimeout(pub Option<Duration>);

fn namespace(text: &str) -> Result<String, String> {
    const MAX_LENGTH: usize = 63;
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= MAX_LENGTH
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
    {
        Ok(text.to_owned())
    } else {
        Err("a namespace is at most 63 lower case letters, digits and '-'".to_owned())
    }
}

fn header_value(text: &str) -> Result<String, String> {
    HeaderValue::from_str(text)
        .map(|_| text.to_owned())
        .map_err(|_| "control characters are not allowed".to_owned())
}

fn key_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => header_value(text),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

fn timeout(text: &str) -> Result<RequestTimeout, String> {
    let duration = match text.parse() {
        _ if text.is_empty() => Duration::ZERO,
        Ok(seconds) => Duration::from_secs(seconds),
        // kubectl's message.
        Err(_) => humantime::parse_duration(text).map_err(|_| {
            "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)".to_owned()
        })?,
    };
    Ok(RequestTimeout(Some(duration).filter(|duration| !duration.is_zero())))
}

fn verbosity(text: &str) -> Result<i32, String> {
    i32::try_from(crate::number::integer(text)?)
        .map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_timeouts() {
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
            let expected = expected.map(|millis| RequestTimeout(millis.map(Duration::from_millis)));
            assert_eq!(timeout(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn rejects_invalid_namespaces() {
        for valid in ["", "default", "a-1"] {
            assert_eq!(namespace(valid).as_deref(), Ok(valid));
        }
        for invalid in ["A", "a/b", "..", "-a", "a-", "a b", &"a".repeat(64)] {
            assert!(namespace(invalid).is_err(), "{invalid:?}");
        }
    }
}
