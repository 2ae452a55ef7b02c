//! Label selectors with the syntax and error texts of Kubernetes.

use std::collections::BTreeMap;

/// A parsed label selector, a conjunction of requirements.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// Kind and text of a token.
type Token<'a> = (Kind, &'a str);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Identifier,
    In,
    NotIn,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    Comma,
    Open,
    Close,
    End,
    Error,
}

impl LabelSelector {
    /// Parses a label selector.
    ///
    /// # Errors
    /// Returns the API server's error text for an invalid selector.
    pub fn parse(selector: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: scan(selector), at: 0 };
        parser.selector().map(Self)
    }

    /// Returns whether the selector has no requirements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the selector matches these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_listed = |value: &String| self.values.contains(value);
        let compared = |holds: fn(i64, i64) -> bool| {
            let number = |text: Option<&String>| text?.parse::<i64>().ok();
            matches!((number(value), number(self.values.first())), (Some(a), Some(b)) if holds(a, b))
        };
        match self.operator {
            Operator::In => value.is_some_and(is_listed),
            Operator::NotIn => !value.is_some_and(is_listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compared(|value, bound| value > bound),
            Operator::LessThan => compared(|value, bound| value < bound),
        }
    }
}

fn is_special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

fn scan(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    // Like the API server's lexer, stop at a NUL.
    while let Some(&first) = bytes.get(at).filter(|b| **b != 0) {
        if is_space(first) {
            at += 1;
            continue;
        }
        if !is_special(first) {
            let ends_word = |b: &u8| *b == 0 || is_special(*b) || is_space(*b);
            let length = bytes[at..].iter().position(ends_word);
            let word = &text[at..length.map_or(text.len(), |length| at + length)];
            let kind = match word {
                "in" => Kind::In,
                "notin" => Kind::NotIn,
                _ => Kind::Identifier,
            };
            tokens.push((kind, word));
            at += word.len();
            continue;
        }
        let second = bytes.get(at + 1).copied();
        let (kind, length) = match (first, second) {
            (b'=', Some(b'=')) => (Kind::Equals, 2),
            (b'!', Some(b'=')) => (Kind::NotEquals, 2),
            (b'=', _) => (Kind::Equals, 1),
            (b'!', _) => (Kind::Not, 1),
            (b'(', _) => (Kind::Open, 1),
            (b')', _) => (Kind::Close, 1),
            (b',', _) => (Kind::Comma, 1),
            (b'>', _) => (Kind::Greater, 1),
            (b'<', _) => (Kind::Less, 1),
            _ => (Kind::Error, 1),
        };
        tokens.push((kind, &text[at..at + length]));
        at += length;
    }
    tokens.push((Kind::End, ""));
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek_raw(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or((Kind::End, ""))
    }

    /// Returns the next token, with `in` and `notin` as identifiers.
    fn peek(&self) -> Token<'a> {
        match self.peek_raw() {
            (Kind::In | Kind::NotIn, word) => (Kind::Identifier, word),
            token => token,
        }
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Kind::End, _) => return Ok(requirements),
                (Kind::Identifier | Kind::Not, _) => {}
                (_, text) => {
                    return Err(format!(
                        "found '{text}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.next() {
                (Kind::End, _) => return Ok(requirements),
                (Kind::Comma, _) => match self.peek() {
                    (Kind::Identifier | Kind::Not, _) => {}
                    (_, text) => {
                        return Err(format!("found '{text}', expected: identifier after ','"));
                    }
                },
                (_, text) => {
                    return Err(format!("found '{text}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut kind, mut key) = self.next();
        let negated = kind == Kind::Not;
        if negated {
            (kind, key) = self.next();
        }
        if kind != Kind::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = key_error(key) {
            return Err(format!("<nil>: Invalid value: {key:?}: {error}"));
        }
        let alone = matches!(self.peek().0, Kind::End | Kind::Comma);
        if negated || alone {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(Requirement { key: key.to_owned(), operator, values: Vec::new() });
        }
        let (operator, word) = self.peek_raw();
        self.at += 1;
        let (operator, is_set) = match operator {
            Kind::In => (Operator::In, true),
            Kind::NotIn => (Operator::NotIn, true),
            Kind::Equals => (Operator::In, false),
            Kind::NotEquals => (Operator::NotIn, false),
            Kind::Greater => (Operator::GreaterThan, false),
            Kind::Less => (Operator::LessThan, false),
            _ => {
                return Err(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = if is_set { self.set()? } else { vec![self.value()?] };
        validate_values(key, operator, &values)?;
        Ok(Requirement { key: key.to_owned(), operator, values })
    }

    /// Parses `(x,y,z)`, where an element may be empty.
    fn set(&mut self) -> Result<Vec<String>, String> {
        let (kind, text) = self.next();
        if kind != Kind::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let (kind, text) = self.peek();
        if !matches!(kind, Kind::Identifier | Kind::Comma | Kind::Close) {
            return Err(format!("found '{text}', expected: ',', ')' or identifier"));
        }
        let mut values = std::collections::BTreeSet::new();
        // Whether a value is expected. A missing value counts as an empty one.
        let mut expects_value = true;
        loop {
            match self.next() {
                (Kind::Identifier, value) if expects_value => {
                    values.insert(value.to_owned());
                    expects_value = false;
                }
                (Kind::Identifier, text) => {
                    return Err(format!("found '{text}', expected: ',' or ')'"));
                }
                (Kind::Comma, _) => {
                    if expects_value {
                        values.insert(String::new());
                    }
                    expects_value = true;
                }
                (Kind::Close, _) => {
                    if expects_value {
                        values.insert(String::new());
                    }
                    return Ok(values.into_iter().collect());
                }
                (_, text) if expects_value => {
                    return Err(format!("found '{text}', expected: ',', or identifier"));
                }
                (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
            }
        }
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Kind::Identifier, value) => Ok(value.to_owned()),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}

fn validate_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    let mut errors = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let number = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        if number && value.parse::<i64>().is_err() {
            errors.push(format!("values[{index}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"));
        }
    }
    for (index, value) in values.iter().enumerate() {
        if let Some(error) = value_error(value) {
            errors.push(format!("values[{index}][{key}]: Invalid value: {value:?}: {error}"));
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const PREFIX_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    is_alphanumeric(bytes.first())
        && is_alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn key_error(key: &str) -> Option<String> {
    let mut errors = Vec::new();
    let name = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            let label = |label: &str| {
                is_name(label)
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > 253 {
                    errors.push("prefix part must be no more than 253 bytes".to_owned());
                }
                if !prefix.split('.').all(label) {
                    errors.push(format!("prefix part {PREFIX_RULE}"));
                }
            }
            name
        }
        _ => {
            return Some(format!(
                "a valid label key {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        errors.push(format!("name part {NAME_RULE}"));
    }
    (!errors.is_empty()).then(|| errors.join("; "))
}

fn value_error(value: &str) -> Option<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push("must be no more than 63 bytes");
    }
    if !value.is_empty() && !is_name(value) {
        errors.push(VALUE_RULE);
    }
    (!errors.is_empty()).then(|| errors.join("; "))
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
