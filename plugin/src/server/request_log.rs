//! Request log of the `-v` flag, with kubectl's levels.
//!
//! Level 6 logs a line for each response. Level 7 adds each request with its headers. Levels 8 to
//! 10 add bodies and truncate them less with each level.
//!
//! Users share such logs. Credentials, and the keys and filters that allow a user to join a
//! session, are masked at every level.

use std::{io::Write, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use jiff::Zoned;
use serde_json::Value;

use crate::render::escape::visible;

const MASK: &str = "<masked>";
/// Fields that are masked at any depth of an object.
const SECRET_FIELDS: [&str; 15] = [
    "accessToken",
    "filter",
    "filters",
    "header",
    "headerFilter",
    "http_filter",
    "idToken",
    "key",
    "kubectl.kubernetes.io/last-applied-configuration",
    "locked_ports",
    "password",
    "portSummary",
    "refreshToken",
    "tls.key",
    "token",
];

/// Log of requests and responses on standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestLog {
    /// Verbosity, as kubectl's `-v`.
    pub(super) level: i32,
    /// Base URL that request paths are appended to.
    pub(super) url: String,
    /// Headers of every request, with placeholders for credentials.
    pub(super) headers: Vec<(String, String)>,
}

impl RequestLog {
    /// Logs a line if the verbosity is at least `level`.
    pub(super) fn log(&self, level: i32, message: &str) {
        if self.level >= level {
            let line = klog_line(&Zoned::now(), std::process::id(), message);
            // A failure to write to standard error cannot be reported.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// Logs a request before it is sent.
    pub(super) fn log_request(&self, method: &Method, path: &str, body: &str) {
        if self.level >= 8 && !body.is_empty() {
            self.log(8, &self.format_body("Request Body", body.as_bytes()));
        }
        if self.level >= 7 {
            let request_headers = self.headers.iter().map(|(name, value)| (&**name, &**value));
            let message = format!(
                "\"Request\" verb={:?} url={:?} headers={}",
                method.as_str(),
                self.url(path),
                format_headers(request_headers)
            );
            self.log(7, &message);
        }
    }

    /// Logs the status of a response.
    pub(super) fn log_response(
        &self,
        method: &Method,
        path: &str,
        status: StatusCode,
        response_headers: &HeaderMap,
        duration: Duration,
    ) {
        if self.level < 6 {
            return;
        }
        let request = if self.level == 6 {
            format!(" verb={:?} url={:?}", method.as_str(), self.url(path))
        } else {
            // The preceding line of the request has these fields.
            String::new()
        };
        let headers = if self.level >= 8 {
            let headers = response_headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("<binary>")));
            format!(" headers={}", format_headers(headers))
        } else {
            String::new()
        };
        let message = format!(
            "\"Response\"{request} status={:?}{headers} milliseconds={}",
            status.to_string(),
            duration.as_millis()
        );
        self.log(6, &message);
    }

    /// Logs the body of a response.
    pub(super) fn log_response_body(&self, bytes: &[u8]) {
        if self.level >= 8 {
            self.log(8, &self.format_body("Response Body", bytes));
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{}", self.url.trim_end_matches('/'), mask_query(path))
    }

    fn format_body(&self, name: &str, bytes: &[u8]) -> String {
        let text = match serde_json::from_slice::<Value>(bytes) {
            Ok(mut value) => {
                mask_fields(&mut value);
                value.to_string()
            }
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let max_chars = match self.level {
            ..=8 => 1024,
            9 => 10240,
            _ => usize::MAX,
        };
        match text.char_indices().nth(max_chars) {
            Some((at, _)) => format!(
                "\"{name}\" body={:?} [truncated {} chars]",
                &text[..at],
                text[at..].chars().count()
            ),
            None => format!("\"{name}\" body={text:?}"),
        }
    }
}

/// Formats a line as klog does, so that parsers of kubectl's log work on this one.
fn klog_line(now: &Zoned, process: u32, message: &str) -> String {
    let time = now.strftime("%m%d %H:%M:%S%.6f");
    format!("I{time} {process:7} wire.rs:1] {}\n", visible(message))
}

fn format_headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let formatted: Vec<String> = all
        .map(|(name, value)| match name.to_ascii_lowercase().as_str() {
            "authorization" => {
                let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
                format!("{name}: {scheme} {MASK}")
            }
            "set-cookie" | "cookie" | "proxy-authorization" => format!("{name}: {MASK}"),
            _ => format!("{name}: {value}"),
        })
        .collect();
    format!("<{}>", formatted.join(", "))
}

/// Masks session keys in the field selector of a query, as `fieldSelector=spec.key%3Davi`.
///
/// The rest of the parameter is masked too, because a value may contain escaped commas.
fn mask_query(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let parts = query.split('&').map(|part| {
        let lower = part.to_ascii_lowercase();
        let ends = ["key=", "key!=", "key%3d", "key%21%3d", "key!%3d"]
            .iter()
            .filter_map(|operator| Some(lower.find(operator)? + operator.len()));
        match ends.min() {
            Some(end) => format!("{}{MASK}", &part[..end]),
            None => part.to_owned(),
        }
    });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

fn mask_fields(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_secret = map.get("kind").is_some_and(|kind| kind == "Secret");
            for (name, value) in map {
                let is_masked = SECRET_FIELDS.contains(&name.as_str())
                    || is_secret && ["data", "stringData"].contains(&name.as_str());
                if is_masked && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask_fields(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_fields),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_format_of_klog() {
        let now: Zoned = "2026-11-23T01:04:37.556138+00:00[UTC]".parse().unwrap();
        assert_eq!(
            klog_line(&now, 2896, "a\nb"),
            "I1123 01:04:37.556138    2896 wire.rs:1] a\\nb\n"
        );
    }

    #[test]
    fn bodies_are_masked_and_truncated() {
        let at = |level, body: &str| {
            let log = RequestLog { level, ..RequestLog::default() };
            log.format_body("B", body.as_bytes())
        };
        let session = r#"{"metadata":{"name":"a"},"spec":{"key":"avi","target":"t"},"status":{"ports":[{"port":80,"filter":"secret"}],"portSummary":"secret"}}"#;
        let shown = at(8, session);
        assert!(!shown.contains("avi") && !shown.contains("secret"), "{shown}");
        assert!(shown.contains(r#"\"target\":\"t\""#), "{shown}");
        let shown = at(10, r#"{"items":[{"kind":"Secret","data":{"a":"cGFzcw=="}}]}"#);
        assert!(!shown.contains("cGFzcw"), "{shown}");
        let join = r#"{"kind":"SessionJoin","status":{"participants":["dev"],"key":"avi","header":{"name":"baggage","value":"mirrord-session=avi"}}}"#;
        for level in 8..=10 {
            let shown = at(level, join);
            assert!(!shown.contains("avi") && shown.contains("dev"), "{shown}");
        }
        assert_eq!(at(8, "plain"), r#""B" body="plain""#);
        let long = "é".repeat(1030);
        assert!(at(8, &long).ends_with("é\" [truncated 6 chars]"));
        assert!(at(9, &long).ends_with("é\""));
    }

    #[test]
    fn keys_in_queries_are_masked() {
        let cases = [
            ("/a", "/a"),
            ("/key=/a", "/key=/a"),
            ("/a?watch=true&limit=5", "/a?watch=true&limit=5"),
            (
                "/a?fieldSelector=spec.key%3Davi%5C%2Csecret&limit=5",
                "/a?fieldSelector=spec.key%3D<masked>&limit=5",
            ),
            (
                "/a?fieldSelector=spec.target%3Dt%2Cspec.session.key%21%3Davi",
                "/a?fieldSelector=spec.target%3Dt%2Cspec.session.key%21%3D<masked>",
            ),
            ("/a?fieldSelector=spec.key=avi", "/a?fieldSelector=spec.key=<masked>"),
        ];
        for (path, expected) in cases {
            assert_eq!(mask_query(path), expected);
        }
        let log = RequestLog { url: "https://host/".to_owned(), ..RequestLog::default() };
        assert_eq!(log.url("/a?key=avi"), "https://host/a?key=<masked>");
    }

    #[test]
    fn credentials_in_headers_are_masked() {
        let shown = format_headers(
            [("Authorization", "Bearer abc"), ("set-cookie", "abc"), ("Impersonate-User", "eve")]
                .into_iter(),
        );
        assert_eq!(
            shown,
            "<Authorization: Bearer <masked>, set-cookie: <masked>, Impersonate-User: eve>"
        );
    }
}
