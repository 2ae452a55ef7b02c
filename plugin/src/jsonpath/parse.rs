//! Parser of JSONPath templates.

use serde_json::Value;

use super::{End, Filter, Piece, Slice, Step};

type Parsed<T> = Result<T, String>;

/// The content of a pair of braces.
enum Action {
    Steps(Vec<Step>),
    Range(Vec<Step>),
    End,
}

/// Parses a complete template.
pub(super) fn template(source: &str) -> Parsed<Vec<Piece>> {
    let mut cursor = Cursor::new(source);
    let (pieces, _) = parse_pieces(&mut cursor, 0)?;
    Ok(pieces)
}

/// Limit of the nesting of ranges, unions and filters.
const MAX_DEPTH: usize = 32;

/// Parses pieces up to the end of the text or of the range. Returns whether an `end` was found.
fn parse_pieces(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<(Vec<Piece>, bool)> {
    if depth > MAX_DEPTH {
        return Err("too deeply nested".to_owned());
    }
    let mut pieces = Vec::new();
    loop {
        let text = cursor.until('{');
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if cursor.next().is_none() {
            return Ok((pieces, false));
        }
        match action(cursor, depth)? {
            Action::Steps(steps) => pieces.push(Piece::Action(steps)),
            Action::Range(over) => {
                // kubectl does not require the `end`.
                let (body, _) = parse_pieces(cursor, depth + 1)?;
                pieces.push(Piece::Range(over, body));
            }
            Action::End if depth > 0 => return Ok((pieces, true)),
            Action::End => pieces.push(Piece::End),
        }
    }
}

/// Parses an action after its opening brace.
fn action(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Action> {
    let mut steps = Vec::new();
    let mut is_range = false;
    loop {
        if cursor.next_if("}") {
            return Ok(match steps.as_slice() {
                _ if is_range => Action::Range(steps),
                [Step::Unknown(word)] if word == "end" => Action::End,
                _ => Action::Steps(steps),
            });
        }
        if cursor.rest().is_empty() {
            return Err("unclosed action".to_owned());
        }
        parse_step(cursor, &mut steps, depth)?;
        if matches!(steps.as_slice(), [Step::Unknown(word)] if word == "range") {
            steps.clear();
            is_range = true;
        }
    }
}

/// Parses a path without braces, as in a filter.
fn path(source: &str, depth: usize) -> Parsed<Vec<Step>> {
    if depth > MAX_DEPTH {
        return Err("too deeply nested".to_owned());
    }
    let mut cursor = Cursor::new(source);
    let mut steps = Vec::new();
    while !cursor.rest().is_empty() {
        parse_step(&mut cursor, &mut steps, depth)?;
    }
    Ok(steps)
}

/// Parses one step, or a character without effect.
fn parse_step(cursor: &mut Cursor<'_>, steps: &mut Vec<Step>, depth: usize) -> Parsed<()> {
    if cursor.next_if("[?(") {
        steps.push(Step::Filter(filter(cursor, depth)?));
        return Ok(());
    }
    if cursor.next_if("..") {
        if steps.last() == Some(&Step::Recursive) {
            return Err("invalid multiple recursive descent".to_owned());
        }
        steps.push(Step::Recursive);
        if cursor.peek().is_some_and(is_word) {
            steps.push(field(cursor));
        }
        return Ok(());
    }
    match cursor.peek() {
        None | Some('\n' | '\r') => return Err("unclosed action".to_owned()),
        // The current object, with which every path begins.
        Some(' ' | '@' | '$') => {
            cursor.next();
        }
        Some('[') => {
            cursor.next();
            bracket(cursor, steps, depth)?;
        }
        Some(quote @ ('"' | '\'')) => {
            cursor.next();
            steps.push(Step::Literal(Value::String(parse_quoted(cursor, quote)?)));
        }
        Some('.') => {
            cursor.next();
            steps.push(field(cursor));
        }
        Some(c) if c == '+' || c == '-' || c.is_ascii_digit() => steps.push(number(cursor)?),
        Some(c) if is_word(c) => {
            let word = cursor.word();
            steps.push(match word {
                "true" => Step::Literal(Value::Bool(true)),
                "false" => Step::Literal(Value::Bool(false)),
                _ => Step::Unknown(word.to_owned()),
            });
        }
        Some(c) => {
            return Err(format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c)));
        }
    }
    Ok(())
}

/// Parses the name of a field, in which a backslash escapes the next character.
fn field(cursor: &mut Cursor<'_>) -> Step {
    match cursor.word() {
        "*" => Step::Wildcard,
        word => Step::Field(word.replace('\\', "")),
    }
}

fn number(cursor: &mut Cursor<'_>) -> Parsed<Step> {
    let rest = cursor.rest();
    let digits = rest.char_indices().skip(1).find(|(_, c)| *c != '.' && !c.is_ascii_digit());
    let text = cursor.take(digits.map_or(rest.len(), |(at, _)| at));
    let bare = text.strip_prefix('+').unwrap_or(text);
    let number = match bare.parse::<i64>() {
        Ok(whole) => Value::from(whole),
        Err(_) => match bare.parse::<f64>() {
            Ok(number) => Value::from(number),
            Err(_) => return Err(format!("cannot parse number {text}")),
        },
    };
    Ok(Step::Literal(number))
}

/// Parses a string after its opening quote.
fn parse_quoted(cursor: &mut Cursor<'_>, quote: char) -> Parsed<String> {
    const UNTERMINATED: &str = "unterminated quoted string";
    let mut text = String::new();
    loop {
        match cursor.next() {
            None | Some('\n') => return Err(UNTERMINATED.to_owned()),
            Some(c) if c == quote => return Ok(text),
            Some('\\') => {
                let c = cursor.next().ok_or(UNTERMINATED)?;
                text.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'v' => '\u{b}',
                    '\\' => '\\',
                    'x' => parse_escape_code(cursor, 2)?,
                    'u' => parse_escape_code(cursor, 4)?,
                    'U' => parse_escape_code(cursor, 8)?,
                    c if c == quote => c,
                    _ => return Err(INVALID.to_owned()),
                });
            }
            Some(c) => text.push(c),
        }
    }
}

const INVALID: &str = "unquote string error invalid syntax";

/// Parses the code of a character, with this number of hex digits.
fn parse_escape_code(cursor: &mut Cursor<'_>, digits: usize) -> Parsed<char> {
    let rest = cursor.rest();
    let number = rest.get(..digits).ok_or(INVALID)?;
    let number = u32::from_str_radix(number, 16).map_err(|_| INVALID)?;
    cursor.take(digits);
    char::from_u32(number).ok_or_else(|| INVALID.to_owned())
}

/// Parses the content of brackets.
fn bracket(cursor: &mut Cursor<'_>, steps: &mut Vec<Step>, depth: usize) -> Parsed<()> {
    let text = cursor.until(']');
    if text.contains('\n') || cursor.next().is_none() {
        return Err("unterminated array".to_owned());
    }
    if text.contains(',') {
        let parts = text.split(',').map(|part| {
            let part = part.trim_matches(' ');
            path(&format!("[{part}]"), depth + 1)
        });
        steps.push(Step::Union(parts.collect::<Parsed<_>>()?));
        return Ok(());
    }
    let key = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .filter(|key| !key.contains('\''));
    if let Some(key) = key {
        // Like kubectl, a dot in the key must be escaped here too.
        steps.extend(path(&format!(".{key}"), depth + 1)?);
        return Ok(());
    }
    steps.push(Step::Slice(slice(text)?));
    Ok(())
}

fn slice(text: &str) -> Parsed<Slice> {
    let invalid = || format!("invalid array index {text}");
    if text == "*" {
        return Ok(Slice::default());
    }
    let mut parts = Vec::new();
    for part in text.split(':') {
        let bare = part.strip_prefix('-').unwrap_or(part);
        if !bare.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        parts.push(match part {
            "" => None,
            part => Some(
                part.parse::<i64>().map_err(|_| format!("array index {part} is not a number"))?,
            ),
        });
    }
    let (start, end, step) = match parts[..] {
        [start] => (start, End::Next, None),
        [start, end] => (start, end.map_or(End::Open, End::At), None),
        [start, end, step] => (start, end.map_or(End::Open, End::At), step),
        _ => return Err(invalid()),
    };
    Ok(Slice { start, end, step })
}

/// Parses a filter after `[?(`.
fn filter(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Filter> {
    let text = condition(cursor)?;
    if !cursor.next_if("]") {
        return Err("unclosed array expect ]".to_owned());
    }
    let is_sign = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let compared = text.find(is_sign).filter(|at| *at > 0).and_then(|at| {
        let (left, rest) = text.split_at(at);
        let end = rest.find(|c| !is_sign(c))?;
        let (sign, right) = rest.split_at(end);
        Some((left, sign, right))
    });
    match compared {
        None => Ok(Filter { left: path(text, depth + 1)?, compared: None }),
        Some((left, sign, right)) => Ok(Filter {
            left: path(left, depth + 1)?,
            compared: Some((sign.to_owned(), path(right, depth + 1)?)),
        }),
    }
}

/// Parses a condition up to its closing parenthesis, the first one outside of quotes.
fn condition<'a>(cursor: &mut Cursor<'a>) -> Parsed<&'a str> {
    let rest = cursor.rest();
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        match c {
            '\n' => break,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) && before != '\\' => quote = None,
            ')' if quote.is_none() => {
                let text = cursor.take(at);
                cursor.next();
                return Ok(text);
            }
            _ => {}
        }
        before = c;
    }
    Err("unterminated filter".to_owned())
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A position in a text.
struct Cursor<'a> {
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn rest(&self) -> &'a str {
        self.text
    }

    fn peek(&self) -> Option<char> {
        self.text.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.text = &self.text[c.len_utf8()..];
        Some(c)
    }

    fn next_if(&mut self, prefix: &str) -> bool {
        match self.text.strip_prefix(prefix) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    /// Consumes this number of bytes, which must end between characters.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.text.split_at(length);
        self.text = rest;
        taken
    }

    /// Consumes the text up to a character or the end.
    fn until(&mut self, end: char) -> &'a str {
        self.take(self.text.find(end).unwrap_or(self.text.len()))
    }

    /// Consumes the text up to the next character that ends a name.
    fn word(&mut self) -> &'a str {
        let mut escaped = false;
        let end = self.text.find(|c| {
            if std::mem::replace(&mut escaped, false) {
                return false;
            }
            escaped = c == '\\';
            " \t\r\n.,[]$@{}".contains(c)
        });
        self.take(end.unwrap_or(self.text.len()))
    }
}
