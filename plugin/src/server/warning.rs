//! Parser of warning headers, `Warning: 299 AGENT "TEXT"` (RFC 7234, section 5.5).

use http::{HeaderMap, header};

/// Returns the texts of all warnings, in order.
pub(super) fn parse_headers(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).iter();
    let values = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    values.flat_map(parse_value).collect()
}

fn parse_value(mut rest: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((_, quoted)) = rest.split_once('"') {
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
        texts.push(text);
        rest = &quoted[end..];
        // A quoted date may follow, which belongs to the same warning.
        rest = rest.find(',').map_or("", |at| match rest.find('"') {
            Some(date) if date < at => "",
            _ => &rest[at..],
        });
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_warning_values() {
        for (value, expected) in [
            (r#"299 - "another session uses the port""#, &["another session uses the port"][..]),
            (r#"299 - "a \"b\" \\ c""#, &[r#"a "b" \ c"#]),
            (r#"299 - "a, b", 299 - "c""#, &["a, b", "c"]),
            (r#"299 - "a" "Mon, 23 Nov 2026""#, &["a"]),
            (r#"299 - "never ends"#, &["never ends"]),
            ("299", &[]),
            ("", &[]),
        ] {
            assert_eq!(parse_value(value), expected, "{value}");
        }
    }
}
