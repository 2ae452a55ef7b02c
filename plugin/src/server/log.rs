//! What `-v` shows of requests, as kubectl's levels do: 6 a line for each answer, 7 what is asked
//! with which headers, 8 and more the bodies, from 8 to 10 less and less cut short.
//!
//! People send such logs to others. So credentials, and what lets somebody join a session (its key
//! and its filters), are masked at every level.

use std::{io::Write, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use jiff::Zoned;
use serde_json::Value;

use crate::render::escape::visible;

const MASK: &str = "<masked>";
/// Fields that are nobody else's business, wherever they are in an object.
const SECRET: [&str; 15] = [
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

/// Says on standard error what is asked and answered, as far as the level goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// kubectl's `-v`.
    pub(super) level: i32,
    /// The server's address, that paths follow.
    pub(super) url: String,
    /// Headers that every request carries, fit to be shown.
    pub(super) headers: Vec<(String, String)>,
}

impl Log {
    /// One line, if the level is at least this.
    pub(super) fn say(&self, level: i32, message: &str) {
        if self.level >= level {
            let line = line(&Zoned::now(), std::process::id(), message);
            // Nobody is left to be told that messages can't be written.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// What is about to be sent.
    pub(super) fn request(&self, method: &Method, path: &str, body: &str) {
        if self.level >= 8 && !body.is_empty() {
            self.say(8, &self.body("Request Body", body.as_bytes()));
        }
        if self.level >= 7 {
            let own = self.headers.iter().map(|(name, value)| (&**name, &**value));
            let message = format!(
                "\"Request\" verb={:?} url={:?} headers={}",
                method.as_str(),
                self.url(path),
                headers(own)
            );
            self.say(7, &message);
        }
    }

    /// The head of an answer.
    pub(super) fn response(
        &self,
        method: &Method,
        path: &str,
        status: StatusCode,
        answered: &HeaderMap,
        took: Duration,
    ) {
        if self.level < 6 {
            return;
        }
        let asked = if self.level == 6 {
            format!(" verb={:?} url={:?}", method.as_str(), self.url(path))
        } else {
            // The line of the request, just before, has it.
            String::new()
        };
        let answered = if self.level >= 8 {
            let answered = answered
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("<binary>")));
            format!(" headers={}", headers(answered))
        } else {
            String::new()
        };
        let message = format!(
            "\"Response\"{asked} status={:?}{answered} milliseconds={}",
            status.to_string(),
            took.as_millis()
        );
        self.say(6, &message);
    }

    /// The body of an answer.
    pub(super) fn answer(&self, bytes: &[u8]) {
        if self.level >= 8 {
            self.say(8, &self.body("Response Body", bytes));
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{}", self.url.trim_end_matches('/'), masked(path))
    }

    fn body(&self, name: &str, bytes: &[u8]) -> String {
        let text = match serde_json::from_slice::<Value>(bytes) {
            Ok(mut value) => {
                mask(&mut value);
                value.to_string()
            }
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let longest = match self.level {
            ..=8 => 1024,
            9 => 10240,
            _ => usize::MAX,
        };
        match text.char_indices().nth(longest) {
            Some((at, _)) => format!(
                "\"{name}\" body={:?} [truncated {} chars]",
                &text[..at],
                text[at..].chars().count()
            ),
            None => format!("\"{name}\" body={text:?}"),
        }
    }
}

/// A line as klog writes it, so that what reads kubectl's reads this.
fn line(now: &Zoned, process: u32, message: &str) -> String {
    let time = now.strftime("%m%d %H:%M:%S%.6f");
    format!("I{time} {process:7} wire.rs:1] {}\n", visible(message))
}

fn headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let shown: Vec<String> = all
        .map(|(name, value)| match name.to_ascii_lowercase().as_str() {
            "authorization" => {
                let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
                format!("{name}: {scheme} {MASK}")
            }
            "set-cookie" | "cookie" | "proxy-authorization" => format!("{name}: {MASK}"),
            _ => format!("{name}: {value}"),
        })
        .collect();
    format!("<{}>", shown.join(", "))
}

/// The path without the values of conditions on keys, as `fieldSelector=spec.key%3Davi`. What
/// follows in the same parameter is left out with them: a value may have escaped commas.
fn masked(path: &str) -> String {
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

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_secret = map.get("kind").is_some_and(|kind| kind == "Secret");
            for (name, value) in map {
                let hides = SECRET.contains(&name.as_str())
                    || is_secret && ["data", "stringData"].contains(&name.as_str());
                if hides && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_klogs() {
        let now: Zoned = "2026-11-23T01:04:37.556138+00:00[UTC]".parse().unwrap();
        assert_eq!(line(&now, 2896, "a\nb"), "I1123 01:04:37.556138    2896 wire.rs:1] a\\nb\n");
    }

    #[test]
    fn bodies_are_masked_and_cut() {
        let at = |level, body: &str| {
            let log = Log { level, ..Log::default() };
            log.body("B", body.as_bytes())
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
            assert_eq!(masked(path), expected);
        }
        let log = Log { url: "https://host/".to_owned(), ..Log::default() };
        assert_eq!(log.url("/a?key=avi"), "https://host/a?key=<masked>");
    }

    #[test]
    fn credentials_in_headers_are_masked() {
        let shown = headers(
            [("Authorization", "Bearer abc"), ("set-cookie", "abc"), ("Impersonate-User", "eve")]
                .into_iter(),
        );
        assert_eq!(
            shown,
            "<Authorization: Bearer <masked>, set-cookie: <masked>, Impersonate-User: eve>"
        );
    }
}
