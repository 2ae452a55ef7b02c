//! Text from other people's machines, made harmless.
//!
//! User names, host names, filters and messages come from other people's machines. A terminal acts
//! on control characters, text direction overrides and invisible characters make a name read as
//! another, and the API server drops a warning that holds a control character: so none of these is
//! ever written raw.

use std::{borrow::Cow, fmt::Write};

/// Whether a terminal would act on the character or hide it, or show its neighbours out of order.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, combining joiner, marks of direction and of Arabic and Mongolian.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}'
            | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}'
            // Letters without a shape.
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            // Zero width, direction, line and paragraph separators, invisible operators, isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, annotations.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags and supplementary variation selectors: a way to carry hidden text.
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text on one line and without anything that a terminal acts on: `\n`, `\x1b`, `\u{202e}`.
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

/// The same, cut after `limit` characters of the text: for a log line or a warning.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text).into_owned(),
    }
}

fn push_escaped(shown: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String doesn't fail.
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
    fn what_a_terminal_acts_on_is_spelled_out() {
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
    fn long_text_is_cut_between_characters() {
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
