//! The proxy to go through, chosen as Go's HTTP client does.
//!
//! kube reads `HTTPS_PROXY` too, but holds `NO_PROXY` against the proxy's address instead of the
//! server's, and sends loopback through the proxy.

use std::net::IpAddr;

use http::Uri;
use kube::config::Cluster;

use crate::error::Error;

/// Takes the proxy out of the cluster's settings, or finds the one that the environment names for
/// the cluster's server.
pub(super) fn choose(
    cluster: &mut Cluster,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, Error> {
    let server: Option<Uri> = cluster.server.as_deref().and_then(|server| server.parse().ok());
    let configured = cluster.proxy_url.take().filter(|proxy| !proxy.is_empty());
    let chosen = configured.or_else(|| of_environment(server.as_ref()?, variable));
    chosen.map(|proxy| parse(&proxy)).transpose()
}

fn parse(proxy: &str) -> Result<Uri, Error> {
    let address = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    address
        .parse()
        .map_err(|_| Error::setup("the proxy's address cannot be understood: expected http://HOST:PORT in proxy-url or HTTPS_PROXY"))
}

fn of_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let either = |upper: &str| {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        set(upper).or_else(|| set(&upper.to_ascii_lowercase()))
    };
    let https = server.scheme_str() == Some("https");
    let proxy = either(if https { "HTTPS_PROXY" } else { "HTTP_PROXY" })?;
    let host = server.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(if https { 443 } else { 80 });
    let address: Option<IpAddr> = host.parse().ok();
    let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    let exempt = either("NO_PROXY").is_some_and(|list| {
        list.split(',').any(|rule| is_exempt(rule.trim(), &host, port, address))
    });
    (!is_local && !exempt).then_some(proxy)
}

/// Whether one rule of `NO_PROXY` covers the host: `*`, a name (with the names below it), an
/// address, or a range of addresses; a name or an address may carry a port.
fn is_exempt(rule: &str, host: &str, port: u16, address: Option<IpAddr>) -> bool {
    let rule = rule.to_ascii_lowercase();
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    if let Some((network, bits)) = rule.split_once('/') {
        return match (address, network.parse(), bits.parse()) {
            (Some(address), Ok(network), Ok(bits)) => in_range(address, network, bits),
            _ => false,
        };
    }
    let bare = rule.trim_matches(['[', ']']);
    if let Ok(exempt) = bare.parse::<IpAddr>() {
        return address == Some(exempt);
    }
    let name = match rule.rsplit_once(':') {
        Some((name, wanted)) if wanted.parse() == Ok(port) => name,
        Some((_, wanted)) if wanted.parse::<u16>().is_ok() => return false,
        _ => &rule,
    };
    let name = name.trim_matches(['[', ']']);
    if let Ok(exempt) = name.parse::<IpAddr>() {
        return address == Some(exempt);
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

fn in_range(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variable of the environment.
    type Set = (&'static str, &'static str);

    fn chosen(server: &str, proxy_url: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        let mut cluster = Cluster {
            server: Some(server.into()),
            proxy_url: proxy_url.map(Into::into),
            ..Cluster::default()
        };
        let variable = |name: &str| {
            env.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        };
        choose(&mut cluster, variable).unwrap().map(|uri| uri.to_string())
    }

    #[test]
    fn the_variable_of_the_scheme() {
        let cases: [(&str, &[Set], Option<&str>); 7] = [
            ("https://k8s:6443", &[], None),
            ("https://k8s:6443", &[("HTTPS_PROXY", "http://p:1")], Some("http://p:1/")),
            ("https://k8s:6443", &[("https_proxy", "p:3128")], Some("http://p:3128/")),
            ("https://k8s:6443", &[("HTTP_PROXY", "http://p:1")], None),
            ("http://k8s:8080", &[("http_proxy", "http://p:1")], Some("http://p:1/")),
            ("http://k8s:8080", &[("HTTPS_PROXY", "http://p:1")], None),
            ("https://k8s:6443", &[("HTTPS_PROXY", "")], None),
        ];
        for (server, env, expected) in cases {
            assert_eq!(chosen(server, None, env).as_deref(), expected, "{server} {env:?}");
        }
        let env = [("HTTPS_PROXY", "http://p:1")];
        let configured = chosen("https://127.0.0.1:6443", Some("socks5://s:1"), &env);
        assert_eq!(configured.as_deref(), Some("socks5://s:1/"));
    }

    #[test]
    fn servers_that_are_reached_without_it() {
        // (server, NO_PROXY, whether through the proxy)
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
        ];
        for (server, no_proxy, through) in cases {
            let env = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", no_proxy)];
            assert_eq!(chosen(server, None, &env).is_some(), through, "{server} {no_proxy:?}");
        }
    }
}
