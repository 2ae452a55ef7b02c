//! YAML in kubectl's style.
//!
//! A writer of our own is needed because the text must equal kubectl's (block style, ordered keys,
//! unindented lists), and because unsafe characters must be escaped.

use std::fmt::Write;

use serde_json::Value;

use super::escape::is_unsafe;

/// Returns the value as a YAML document.
#[must_use]
pub fn to_string(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut text, value, 0),
        _ => {
            scalar(&mut text, value);
            text.push('\n');
        }
    }
    text
}

/// Writes a map or list that is not empty, with the cursor at the indentation.
fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (n, (key, value)) in map.iter().enumerate() {
                if n > 0 {
                    push_indent(text, indent);
                }
                string(text, key);
                text.push(':');
                entry(text, value, indent, is_list(value));
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    push_indent(text, indent);
                }
                text.push('-');
                if is_block(item) {
                    text.push(' ');
                    block(text, item, indent + 2);
                } else {
                    entry(text, item, indent, false);
                }
            }
        }
        _ => {}
    }
}

/// Writes the value of a key, on the same line if it is a scalar or empty.
fn entry(text: &mut String, value: &Value, indent: usize, same_indent: bool) {
    if let Some((header, lines)) = literal(value) {
        text.push_str(header);
        for line in lines {
            text.push('\n');
            if !line.is_empty() {
                push_indent(text, indent + 2);
                text.push_str(line);
            }
        }
        text.push('\n');
    } else if is_block(value) {
        let indent = if same_indent { indent } else { indent + 2 };
        text.push('\n');
        push_indent(text, indent);
        block(text, value, indent);
    } else {
        text.push(' ');
        scalar(text, value);
        text.push('\n');
    }
}

/// Returns the indicator and the lines of a string that is best written as a literal block.
fn literal(value: &Value) -> Option<(&'static str, std::str::Split<'_, char>)> {
    let text = value.as_str()?;
    let (header, body) = match text.strip_suffix('\n') {
        Some(body) => (" |", body),
        None => (" |-", text),
    };
    let is_fit = text.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && !body.is_empty()
        && !body.contains(|c| c != '\n' && is_unsafe(c));
    is_fit.then(|| (header, body.split('\n')))
}

fn is_list(value: &Value) -> bool {
    matches!(value, Value::Array(_))
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn push_indent(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => string(text, value),
        Value::Array(_) => text.push_str("[]"),
        Value::Object(_) => text.push_str("{}"),
        // null, booleans and numbers are written as in JSON.
        other => text.push_str(&other.to_string()),
    }
}

fn string(text: &mut String, value: &str) {
    if value.contains(is_unsafe) {
        double_quoted(text, value);
    } else if is_plain(value) {
        text.push_str(value);
    } else if looks_typed(value) {
        // kubectl uses double quotes for "true" and "1", and single quotes for 'a: b'.
        double_quoted(text, value);
    } else {
        let _ = write!(text, "'{}'", value.replace('\'', "''"));
    }
}

fn double_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        let code = u32::from(c);
        let _ = match c {
            '"' => write!(text, "\\\""),
            '\\' => write!(text, "\\\\"),
            '\n' => write!(text, "\\n"),
            '\r' => write!(text, "\\r"),
            '\t' => write!(text, "\\t"),
            '\u{1b}' => write!(text, "\\e"),
            _ if !is_unsafe(c) => write!(text, "{c}"),
            _ if code < 0x100 => write!(text, "\\x{code:02X}"),
            _ if code < 0x1_0000 => write!(text, "\\u{code:04X}"),
            _ => write!(text, "\\U{code:08X}"),
        };
    }
    text.push('"');
}

/// Returns whether the string needs no quotes in YAML 1.1 and 1.2.
fn is_plain(value: &str) -> bool {
    // The characters that may begin another kind of node.
    const INDICATORS: &str = "-?:,[]{}#&*!|>'\"%@`=~ ";
    !value.is_empty()
        && !value.starts_with(|c| INDICATORS.contains(c))
        && !value.ends_with([' ', ':'])
        && !value.contains(": ")
        && !value.contains(" #")
        && !looks_typed(value)
}

/// Returns whether a YAML parser may take the text for a number, a boolean or a date. Unnecessary
/// quotes are harmless.
fn looks_typed(value: &str) -> bool {
    const WORDS: [&str; 14] = [
        "", "<<", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf",
        "infinity",
    ];
    let bare = value.trim_start_matches(['+', '-', '.']);
    let bare = bare.to_ascii_lowercase();
    // Versions and addresses contain several dots.
    let is_dotted =
        bare.chars().all(|c| c.is_ascii_digit() || c == '.') && bare.matches('.').count() > 1;
    WORDS.contains(&bare.as_str())
        || ["0x", "0o", "0b"].iter().any(|base| bare.starts_with(base))
        || (!is_dotted
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.chars().all(|c| c.is_ascii_digit() || "e_.:+-tz ".contains(c)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equals_kubectls_yaml() {
        let value = json!({
            "apiVersion": "v1",
            "items": [
                { "metadata": { "name": "a", "labels": {}, "generation": 1 }, "list": [["x"], []] },
                "text",
            ],
            "kind": "List",
            "metadata": { "resourceVersion": "" },
        });
        assert_eq!(
            to_string(&value),
            "apiVersion: v1\n\
             items:\n\
             - list:\n\
             \x20 - - x\n\
             \x20 - []\n\
             \x20 metadata:\n\
             \x20   generation: 1\n\
             \x20   labels: {}\n\
             \x20   name: a\n\
             - text\n\
             kind: List\n\
             metadata:\n\
             \x20 resourceVersion: \"\"\n"
        );
        assert_eq!(to_string(&json!([])), "[]\n");
    }

    #[test]
    fn round_trips_and_escapes_strings() {
        let cases = [
            ("plain", "plain"),
            ("deployment/ip-visit-counter", "deployment/ip-visit-counter"),
            ("Port: 80", "'Port: 80'"),
            ("header=baggage: .*x'y", "'header=baggage: .*x''y'"),
            ("system:serviceaccount:a:b", "system:serviceaccount:a:b"),
            ("ends:", "'ends:'"),
            ("a #b", "'a #b'"),
            ("", "\"\""),
            (" lead", "' lead'"),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("y", "\"y\""),
            ("~", "'~'"),
            ("<<", "\"<<\""),
            ("=", "'='"),
            ("12", "\"12\""),
            ("-1.5e3", "\"-1.5e3\""),
            ("0x1F", "\"0x1F\""),
            ("0o17", "\"0o17\""),
            ("1_000", "\"1_000\""),
            ("12:30:45", "\"12:30:45\""),
            ("2024-01-02T03:04:05Z", "\"2024-01-02T03:04:05Z\""),
            (".inf", "\".inf\""),
            (".NaN", "\".NaN\""),
            ("487f4f2b6d2376ad", "487f4f2b6d2376ad"),
            ("4875462365237e10", "\"4875462365237e10\""),
            ("1.2.3", "1.2.3"),
            ("1.2", "\"1.2\""),
            ("*a", "'*a'"),
            ("- a", "'- a'"),
            ("\u{1b}[31m", "\"\\e[31m\""),
            ("a\nb\t\\\"", "\"a\\nb\\t\\\\\\\"\""),
            ("\u{7f}\u{9b}", "\"\\x7F\\x9B\""),
            ("\u{202e}x", "\"\\u202Ex\""),
            ("\u{e0041}", "\"\\U000E0041\""),
            ("Zoë 🦀", "Zoë 🦀"),
        ];
        for (text, expected) in cases {
            let yaml = to_string(&json!({ "a": text }));
            assert_eq!(yaml, format!("a: {expected}\n"), "{text:?}");
            let read: Value = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read, json!({ "a": text }), "{yaml}");
            let as_key = to_string(&json!({ text: [text] }));
            let read: Value = serde_saphyr::from_str(&as_key).unwrap();
            assert_eq!(read, json!({ text: [text] }), "{as_key}");
            assert!(!yaml.trim_end().contains(is_unsafe), "{yaml:?}");
        }
    }

    #[test]
    fn writes_strings_of_several_lines() {
        let cases = [
            ("a\nb\n", "|\n  a\n  b\n"),
            ("a\n\n b", "|-\n  a\n\n   b\n"),
            ("a\n\n", "\"a\\n\\n\"\n"),
            ("\na", "\"\\na\"\n"),
            (" a\nb", "\" a\\nb\"\n"),
            ("a\n\u{1b}", "\"a\\n\\e\"\n"),
        ];
        for (text, expected) in cases {
            let yaml = to_string(&json!({ "k": text }));
            assert_eq!(yaml, format!("k: {expected}"), "{text:?}");
            let nested = json!({ "k": [text, { "v": text, "w": 1 }] });
            let yaml = to_string(&nested);
            let read: Value = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read, nested, "{yaml}");
        }
    }

    #[test]
    fn round_trips_any_string() {
        const PIECES: [&str; 24] = [
            "a", "1", ":", " ", "#", "-", "'", "\"", "\\", "\n", "{", "}", "[", "]", ",", "&", "*",
            "!", "|", ">", "%", "@", "e", ".",
        ];
        // Every string of three pieces is tested.
        let all: Vec<Value> = (0..PIECES.len().pow(3))
            .map(|n| [n, n / 24, n / 24 / 24].map(|n| PIECES[n % 24]).concat())
            .map(|text| json!({ "v": text }))
            .collect();
        let all = Value::Array(all);
        let yaml = to_string(&all);
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, all);
    }
}
