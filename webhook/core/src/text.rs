//! Escaping of untrusted text for terminals and logs.
//!
//! User names, host names, filters and messages come from other machines. A terminal interprets
//! control characters. Direction overrides and invisible characters make one name look like
//! another. The API server drops a warning that contains a control character. None of these
//! characters is therefore ever written raw.

use std::{borrow::Cow, fmt::Write};

/// Returns whether a terminal would interpret or hide the character, or reorder text around it.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, combining joiner, marks of direction and of Arabic and Mongolian.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}'
            | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}'
            // Blank letters.
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            // Zero width, direction, line and paragraph separators, invisible operators, isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, annotations.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags and supplementary variation selectors: a way to carry hidden text.
            | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the text on one line, with unsafe characters escaped as `\n`, `\x1b` or `\u{202e}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            push_escaped(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Returns the escaped text, truncated after `limit` characters, for a log line or a warning.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text).into_owned(),
    }
}

fn push_escaped(shown: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String never fails.
    let _ = match c {
        '\n' => write!(shown, "\\n"),
        '\r' => write!(shown, "\\r"),
        '\t' => write!(shown, "\\t"),
        _ if code < 0x100 => write!(shown, "\\x{code:02x}"),
        _ => write!(shown, "\\u{{{code:x}}}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_unsafe_characters() {
        let cases = [
            ("plain", "plain"),
            ("Zoë 東京 🦀", "Zoë 東京 🦀"),
            (r"baggage: .*\d+", r"baggage: .*\d+"),
            ("\u{1b}[31mred", r"\x1b[31mred"),
            ("a\nb\rc\td", r"a\nb\rc\td"),
            ("\u{7}\u{7f}", r"\x07\x7f"),
            ("\u{9b}2J", r"\x9b2J"),
            ("\u{202e}nimda", r"\u{202e}nimda"),
            ("ad\u{200b}min\u{feff}", r"ad\u{200b}min\u{feff}"),
            ("\u{2028}\u{2066}\u{e0041}", r"\u{2028}\u{2066}\u{e0041}"),
            ("\0", r"\x00"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected, "{text:?}");
            assert!(!visible(text).contains(is_unsafe), "{text:?}");
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn truncates_between_characters() {
        for (text, limit, expected) in [
            ("abcdef", 3, "abc…"),
            ("abc", 3, "abc"),
            ("東京東京", 2, "東京…"),
            ("\u{1b}\u{1b}", 1, r"\x1b…"),
            ("", 0, ""),
        ] {
            assert_eq!(printable(text, limit), expected);
        }
    }
}
