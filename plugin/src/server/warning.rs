//! Warnings of the API server: parser and output.
//!
//! The format of the header is `Warning: 299 AGENT "TEXT"` (RFC 7234, section 5.5). The output is
//! that of kubectl, whose client prints each text once.

use std::{
    collections::HashSet,
    fmt,
    io::{IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
};

use http::{HeaderMap, header};

use crate::render::escape::visible;

/// The only code of warnings by the API server. Proxies send others about their caches.
const CODE: &str = "299";
/// Limit of the remembered texts, so that a long command does not grow.
const MAX_REMEMBERED: usize = 1000;
/// The color of kubectl's warnings.
const YELLOW: &str = "\u{1b}[33;1m";
const RESET: &str = "\u{1b}[0m";

type Receiver = Box<dyn Fn(String) + Send + Sync>;

/// Prints the warnings of responses to standard error, each text once.
#[derive(Default)]
pub(super) struct WarningWriter {
    written: Mutex<HashSet<String>>,
    /// Receives the warnings instead of standard error.
    receiver: OnceLock<Receiver>,
}

impl fmt::Debug for WarningWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarningWriter").finish_non_exhaustive()
    }
}

impl WarningWriter {
    /// Sends the warnings of later responses to a receiver. Only the first receiver counts.
    pub(super) fn redirect(&self, receiver: impl Fn(String) + Send + Sync + 'static) {
        // An error means that there is a receiver already.
        let _ = self.receiver.set(Box::new(receiver));
    }

    /// Prints the warnings in the headers of a response.
    pub(super) fn write(&self, headers: &HeaderMap) {
        let texts = parse_headers(headers);
        if texts.is_empty() {
            return;
        }
        let colors = self.receiver.get().is_none() && uses_color();
        for text in texts {
            if !self.remember(&text) {
                continue;
            }
            if let Some(receiver) = self.receiver.get() {
                receiver(format_line(&text, false));
            } else {
                let line = format_line(&text, colors) + "\n";
                // A failure to write to standard error cannot be reported.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        }
    }

    /// Returns whether the text is new.
    fn remember(&self, text: &str) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MAX_REMEMBERED {
            written.clear();
        }
        written.insert(text.to_owned())
    }
}

fn format_line(text: &str, colors: bool) -> String {
    let text = visible(text);
    if colors { format!("{YELLOW}Warning:{RESET} {text}") } else { format!("Warning: {text}") }
}

fn uses_color() -> bool {
    let is_terminal = std::io::stderr().is_terminal();
    allows_color(is_terminal, cfg!(windows), |name| std::env::var(name).ok())
}

/// Returns whether kubectl would use colors.
fn allows_color(
    is_terminal: bool,
    is_windows: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> bool {
    // Older terminals of Windows interpret no escape sequences.
    let is_old = is_windows && variable("WT_SESSION").is_none_or(|session| session.is_empty());
    let is_dumb = variable("TERM").as_deref() == Some("dumb");
    is_terminal && !is_dumb && variable("NO_COLOR").is_none() && !is_old
}

/// Returns the texts of all warnings by the API server, in order.
fn parse_headers(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).iter();
    let values = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    values.flat_map(parse_value).collect()
}

fn parse_value(mut rest: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((before, quoted)) = rest.split_once('"') {
        let code = before.trim_start_matches([',', ' ', '\t']).split_whitespace().next();
        let mut text = String::new();
        let mut is_escaped = false;
        let mut end = quoted.len();
        for (at, c) in quoted.char_indices() {
            match c {
                '\\' if !is_escaped => is_escaped = true,
                '"' if !is_escaped => {
                    end = at + 1;
                    break;
                }
                c => {
                    text.push(c);
                    is_escaped = false;
                }
            }
        }
        if code == Some(CODE) && !text.is_empty() {
            texts.push(text);
        }
        rest = &quoted[end..];
        // A quoted date may follow, which belongs to the same warning.
        if rest.trim_start().starts_with('"') {
            let date = rest.trim_start().get(1..).unwrap_or_default();
            rest = date.find('"').map_or("", |at| &date[at + 1..]);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn parses_warning_values() {
        for (value, expected) in [
            (r#"299 - "another session uses the port""#, &["another session uses the port"][..]),
            (r#"299 - "a \"b\" \\ c""#, &[r#"a "b" \ c"#]),
            (r#"299 - "a, b", 299 - "c""#, &["a, b", "c"]),
            (r#"299 - "a" "Mon, 23 Nov 2026""#, &["a"]),
            (r#"299 - "a" "Mon, 23 Nov 2026", 299 - "b""#, &["a", "b"]),
            (r#"299 - "never ends"#, &["never ends"]),
            (r#"110 proxy "Response is Stale", 299 - "a""#, &["a"]),
            (r#"299 - """#, &[]),
            ("299", &[]),
            ("", &[]),
        ] {
            assert_eq!(parse_value(value), expected, "{value}");
        }
    }

    #[test]
    fn uses_color_where_kubectl_does() {
        for (name, is_terminal, is_windows, variables, expected) in [
            ("terminal", true, false, &[][..], true),
            ("no terminal", false, false, &[], false),
            ("dumb terminal", true, false, &[("TERM", "dumb")], false),
            ("colors disabled", true, false, &[("NO_COLOR", "")], false),
            ("old terminal of Windows", true, true, &[], false),
            ("terminal of Windows", true, true, &[("WT_SESSION", "x")], true),
        ] {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(allows_color(is_terminal, is_windows, variable), expected, "{name}");
        }
        assert_eq!(format_line("a\u{1b}b", false), "Warning: a\\x1bb");
        assert_eq!(format_line("a", true), "\u{1b}[33;1mWarning:\u{1b}[0m a");
    }

    #[test]
    fn sends_each_text_once() {
        let received = Arc::new(Mutex::new(Vec::new()));
        let writer = WarningWriter::default();
        let sink = Arc::clone(&received);
        writer.redirect(move |line| sink.lock().unwrap().push(line));
        for value in [r#"299 - "a""#, r#"299 - "b", 299 - "a""#] {
            let mut headers = HeaderMap::new();
            headers.insert(header::WARNING, value.parse().unwrap());
            writer.write(&headers);
        }
        assert_eq!(*received.lock().unwrap(), ["Warning: a", "Warning: b"]);
    }
}
