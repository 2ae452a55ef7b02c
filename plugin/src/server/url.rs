//! Percent-encoding of paths and queries.

use std::fmt::Write;

/// Encodes the text as one path segment or one query value.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Appends query parameters to a path that may already have some.
pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut url = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    for (name, value) in query {
        let _ = write!(url, "{separator}{name}={}", encode(value));
        separator = '&';
    }
    url
}
