//! Selection of the HTTP proxy for the API server, by the rules of client-go.
//!
//! The server is matched against `NO_PROXY`, and loopback addresses are never proxied.

use http::{Uri, uri::Authority};
use hyper_util::client::proxy::matcher::Matcher;

use crate::error::Error;

/// Rules that exempt this machine, as Go's HTTP client always does.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Returns the proxy of the kubeconfig's `proxy-url`, or that of the environment for the server.
pub(super) fn select(
    configured: Option<&str>,
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, Error> {
    let proxy =
        configured.map(ToOwned::to_owned).or_else(|| proxy_from_environment(server, variable));
    proxy.map(|proxy| parse_proxy_url(&proxy)).transpose()
}

fn parse_proxy_url(proxy: &str) -> Result<Uri, Error> {
    let url = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    url.parse().map_err(|_| {
        Error::setup("invalid proxy address: expected http://HOST:PORT in proxy-url or HTTPS_PROXY")
    })
}

fn proxy_from_environment(
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let either_case = |name: &str| {
        let non_empty = |name: &str| variable(name).filter(|value| !value.is_empty());
        non_empty(name).or_else(|| non_empty(&name.to_ascii_lowercase()))
    };
    let (name, default_port) = match server.scheme_str() {
        Some("https") => ("HTTPS_PROXY", 443),
        _ => ("HTTP_PROXY", 80),
    };
    let proxy = either_case(name)?;
    let port = server.port_u16().unwrap_or(default_port);
    let rules = either_case("NO_PROXY").unwrap_or_default();
    // The matcher only decides whether the server is exempt. Its own form of the proxy's address
    // lacks the credentials, which kube sends to the proxy.
    let matcher = Matcher::builder()
        .all("http://proxy")
        .no(format!("{},{LOOPBACK}", curl_rules(&rules, server.host()?, port)))
        .build();
    matcher.intercept(server).map(|_| proxy)
}

/// Translates the rules of `NO_PROXY` from Go's syntax to curl's, which the matcher implements.
///
/// Go also accepts ports and `*.name`, and `.name` exempts only the subdomains of `name`.
fn curl_rules(rules: &str, host: &str, port: u16) -> String {
    let translate = |rule| {
        let rule = match rule {
            "*" => rule,
            _ => rule.strip_prefix('*').unwrap_or(rule),
        };
        if rule.strip_prefix('.').is_some_and(|parent| parent.eq_ignore_ascii_case(host)) {
            return None;
        }
        match rule.parse::<Authority>() {
            Ok(authority) if authority.port().is_some() => (authority.port_u16() == Some(port))
                .then(|| authority.host().trim_matches(['[', ']']).to_owned()),
            _ => Some(rule.trim_matches(['[', ']']).to_owned()),
        }
    };
    rules.split(',').map(str::trim).filter_map(translate).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variable = (&'static str, &'static str);

    fn select_for(server: &str, proxy_url: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        select(proxy_url, &server.parse().unwrap(), variable).unwrap().map(|uri| uri.to_string())
    }

    #[test]
    fn reads_the_variable_for_the_scheme_of_the_server() {
        let cases: [(&str, &[Variable], Option<&str>); 7] = [
            ("https://k8s:6443", &[], None),
            ("https://k8s:6443", &[("HTTPS_PROXY", "http://p:1")], Some("http://p:1/")),
            ("https://k8s:6443", &[("https_proxy", "p:3128")], Some("http://p:3128/")),
            ("https://k8s:6443", &[("HTTP_PROXY", "http://p:1")], None),
            ("http://k8s:8080", &[("http_proxy", "http://p:1")], Some("http://p:1/")),
            ("http://k8s:8080", &[("HTTPS_PROXY", "http://p:1")], None),
            ("https://k8s:6443", &[("HTTPS_PROXY", "")], None),
        ];
        for (server, env, expected) in cases {
            assert_eq!(select_for(server, None, env).as_deref(), expected, "{server} {env:?}");
        }
        let env = [("HTTPS_PROXY", "http://p:1")];
        let configured = select_for("https://127.0.0.1:6443", Some("socks5://s:1"), &env);
        assert_eq!(configured.as_deref(), Some("socks5://s:1/"));
    }

    #[test]
    fn bypasses_the_proxy_for_exempt_servers() {
        // (server, NO_PROXY, expects the proxy)
        let cases = [
            ("https://127.0.0.1:6443", "", false),
            ("https://localhost:6443", "", false),
            ("https://[::1]:6443", "", false),
            ("https://k8s:6443", "", true),
            ("https://k8s:6443", "*", false),
            ("https://a.k8s:6443", "b, k8s", false),
            ("https://ak8s:6443", "k8s", true),
            ("https://k8s:6443", ".k8s", true),
            ("https://a.k8s:6443", "*.k8s", false),
            ("https://k8s:6443", "k8s:443", true),
            ("https://k8s:6443", "k8s:6443", false),
            ("https://10.1.2.3", "10.0.0.0/8", false),
            ("https://11.1.2.3", "10.0.0.0/8", true),
            ("https://10.1.2.3", "10.1.2.3:443", false),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "fd00::1", false),
            ("https://k8s:6443", "10.0.0.0/99, /, :", true),
            ("https://k8s:6443", "*:6443", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", false),
            ("https://[fd00::1]:6443", "[fd00::1]:443", true),
        ];
        for (server, no_proxy, expected) in cases {
            let env = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", no_proxy)];
            assert_eq!(select_for(server, None, &env).is_some(), expected, "{server} {no_proxy:?}");
        }
    }
}
