//! What the server warns of, in headers `Warning: 299 AGENT "TEXT"` (RFC 7234, 5.5).

use http::{HeaderMap, header};

/// The texts of the warnings, in their order.
pub(super) fn texts(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).iter();
    let values = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    values.flat_map(of_value).collect()
}

fn of_value(mut rest: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((_, quoted)) = rest.split_once('"') {
        let mut text = String::new();
        let mut escaped = false;
        let mut end = quoted.len();
        for (at, c) in quoted.char_indices() {
            match c {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    end = at + 1;
                    break;
                }
                c => {
                    text.push(c);
                    escaped = false;
                }
            }
        }
        texts.push(text);
        rest = &quoted[end..];
        // A date may follow, quoted too; it belongs to the warning before it.
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
    fn warnings_of_headers() {
        for (value, expected) in [
            (r#"299 - "somebody else is there""#, &["somebody else is there"][..]),
            (r#"299 - "a \"b\" \\ c""#, &[r#"a "b" \ c"#]),
            (r#"299 - "a, b", 299 - "c""#, &["a, b", "c"]),
            (r#"299 - "a" "Mon, 23 Nov 2026""#, &["a"]),
            (r#"299 - "never ends"#, &["never ends"]),
            ("299", &[]),
            ("", &[]),
        ] {
            assert_eq!(of_value(value), expected, "{value}");
        }
    }
}
