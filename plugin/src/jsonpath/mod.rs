//! JSONPath templates in kubectl's dialect.
//!
//! The dialect is documented at <https://kubernetes.io/docs/reference/kubectl/jsonpath/>, and
//! follows kubectl's implementation where the documentation is silent: text with expressions in
//! braces, `range` and `end`, fields, `['keys']`, indices, slices, unions, wildcards, recursive
//! descent and filters. No crate implements it: RFC 9535 JSONPath has neither templates nor ranges,
//! and other rules.
//!
//! A missing field yields nothing, unless a template is [strict](Template::strict), as with
//! kubectl's `--allow-missing-template-keys=false`.

mod eval;
mod parse;

use std::{borrow::Cow, fmt};

use serde_json::Value;

use crate::render::escape::{is_unsafe, visible};

/// A parsed JSONPath template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
    keys: eval::MissingKeys,
}

/// The error about a template that can't be parsed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("error parsing jsonpath {template}, {what}")]
pub struct ParseError {
    template: String,
    what: String,
}

/// The error about a template that can't be evaluated on an object.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("error executing jsonpath {template:?}: Error executing template: {what}")]
pub struct EvalError {
    template: String,
    what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// An expression in braces.
    Action(Vec<Step>),
    /// A `range` with the pieces up to its `end`.
    Range(Vec<Step>, Vec<Piece>),
    /// An `end` without a `range`.
    End,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice(Slice),
    Union(Vec<Vec<Step>>),
    Filter(Filter),
    Literal(Value),
    /// A word without a meaning.
    Unknown(String),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Slice {
    start: Option<i64>,
    end: End,
    step: Option<i64>,
}

/// The end of a slice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum End {
    /// The end of the list.
    #[default]
    Open,
    /// The index before which the slice ends.
    At(i64),
    /// The item after the start: an index, not a slice.
    Next,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// The comparison; without one, the filter checks existence.
    compared: Option<(String, Vec<Step>)>,
}

impl Template {
    /// Parses a JSONPath template.
    ///
    /// # Errors
    /// Returns kubectl's error.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        match parse::template(source) {
            Ok(pieces) => {
                Ok(Self { source: source.to_owned(), pieces, keys: eval::MissingKeys::default() })
            }
            Err(what) => Err(ParseError { template: source.to_owned(), what }),
        }
    }

    /// Parses a single path without braces and without the leading dot if omitted, as kubectl
    /// accepts it for columns and for sorting.
    ///
    /// # Errors
    /// Returns kubectl's error.
    pub fn relaxed(path: &str) -> Result<Self, String> {
        const UNEXPECTED: &str = "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        let bare = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
        let bare = bare.strip_prefix('.').unwrap_or(bare);
        if bare.is_empty() || bare.contains(['{', '}']) {
            return Err(UNEXPECTED.to_owned());
        }
        Self::parse(&format!("{{.{bare}}}")).map_err(|error| error.to_string())
    }

    /// Returns the template with errors for missing fields.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { keys: eval::MissingKeys::Error, ..self }
    }

    /// Returns the source of the template.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the results of each expression and literal.
    ///
    /// # Errors
    /// Returns kubectl's error if the template can't be evaluated.
    pub fn find<'a>(&'a self, object: &'a Value) -> Result<Vec<Vec<Cow<'a, Value>>>, EvalError> {
        let mut found = Vec::new();
        eval::pieces(&self.pieces, object, self.keys, &mut |results| {
            found.push(results);
        })
        .map_err(|what| EvalError { template: self.source.clone(), what })?;
        Ok(found)
    }

    /// Returns the text of the template for an object, with unsafe characters of the results
    /// escaped.
    ///
    /// # Errors
    /// Returns kubectl's error if the template can't be evaluated.
    pub fn text(&self, object: &Value) -> Result<String, EvalError> {
        let mut text = String::new();
        eval::all(&self.pieces, object, self.keys, &mut |result| match result {
            eval::OutputPart::Literal(literal) => text.push_str(literal),
            eval::OutputPart::Found(results) => {
                for (n, result) in results.iter().enumerate() {
                    if n > 0 {
                        text.push(' ');
                    }
                    text.push_str(&to_text(result));
                }
            }
        })
        .map_err(|what| EvalError { template: self.source.clone(), what })?;
        Ok(text)
    }
}

/// Returns a result as text: strings verbatim, objects and lists as JSON.
fn to_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => visible(text),
        other => Cow::Owned(json(other)),
    }
}

/// Returns JSON on one line like Go's encoder, with unsafe characters escaped.
fn json(value: &Value) -> String {
    let plain = value.to_string();
    let mut text = String::with_capacity(plain.len());
    for c in plain.chars() {
        // All of these characters occur within strings only.
        if matches!(c, '<' | '>' | '&') || is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                use fmt::Write;
                // Writing to a String never fails.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns a result like Go's `fmt.Sprint`, for custom columns.
#[must_use]
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => visible(text).into_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let pairs =
                map.iter().map(|(name, value)| format!("{}:{}", visible(name), go_text(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
