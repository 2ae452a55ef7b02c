//! Text from other people's machines, made fit for a log line or a warning.

/// `text` with control characters and invisible formatting escaped (`\u{1b}`), cut after `limit`
/// characters. The API server drops a warning that holds a control character, and a terminal obeys
/// it.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            shown.push('…');
            break;
        }
        if c.is_control() || is_invisible_format(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Bidirectional overrides and zero-width characters, which make a line read as another.
fn is_invisible_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text() {
        let cases = [
            ("alice@corp", 20, "alice@corp"),
            ("Zoë", 20, "Zoë"),
            ("a\u{1b}[31mb\n", 20, "a\\u{1b}[31mb\\u{a}"),
            ("abc\u{202e}def", 20, "abc\\u{202e}def"),
            ("abcdef", 3, "abc…"),
            ("abc", 3, "abc"),
            ("", 3, ""),
        ];
        for (text, limit, shown) in cases {
            assert_eq!(printable(text, limit), shown);
        }
    }
}
