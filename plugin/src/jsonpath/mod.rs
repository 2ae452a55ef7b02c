//! kubectl's JSONPath templates.
//!
//! The dialect that <https://kubernetes.io/docs/reference/kubectl/jsonpath/> documents, as
//! kubectl's own implementation has it where the documentation is silent: text with expressions in
//! braces, `range` and `end`, fields, `['keys']`, indices, slices, unions, wildcards, recursive
//! descent and filters. No crate speaks it: what is called JSONPath elsewhere (RFC 9535) has
//! neither templates nor ranges, and other rules for most of the rest.
//!
//! A field that isn't there is nothing, unless a template is [strict](Template::strict), as with
//! kubectl's `--allow-missing-template-keys=false`.

mod eval;
mod parse;

use std::{borrow::Cow, fmt};

use serde_json::Value;

use crate::render::escape::{is_unsafe, visible};

/// A template, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
    keys: eval::Keys,
}

/// Why a template can't be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("error parsing jsonpath {template}, {what}")]
pub struct ParseError {
    template: String,
    what: String,
}

/// Why a template can't be applied to an object.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("error executing jsonpath {template:?}: Error executing template: {what}")]
pub struct EvalError {
    template: String,
    what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// What is in braces.
    Action(Vec<Step>),
    /// What is between a `range` and its `end`, for each result.
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
    /// A word that means nothing.
    Unknown(String),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Slice {
    start: Option<i64>,
    end: End,
    step: Option<i64>,
}

/// Where a slice ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum End {
    /// With the list.
    #[default]
    Open,
    /// Before this index.
    At(i64),
    /// After one item: it is an index and no slice.
    Next,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// That it is there, if there is nothing to compare with.
    compared: Option<(String, Vec<Step>)>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        match parse::template(source) {
            Ok(pieces) => {
                Ok(Self { source: source.to_owned(), pieces, keys: eval::Keys::default() })
            }
            Err(what) => Err(ParseError { template: source.to_owned(), what }),
        }
    }

    /// Reads a single path, whose braces and first dot may be left out, as kubectl takes them for
    /// columns and for sorting.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn relaxed(path: &str) -> Result<Self, String> {
        const UNEXPECTED: &str = "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        let bare = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
        let bare = bare.strip_prefix('.').unwrap_or(bare);
        if bare.is_empty() || bare.contains(['{', '}']) {
            return Err(UNEXPECTED.to_owned());
        }
        Self::parse(&format!("{{.{bare}}}")).map_err(|error| error.to_string())
    }

    /// The same, where a field that isn't there is an error.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { keys: eval::Keys::Needed, ..self }
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it finds: the results of each expression and text.
    ///
    /// # Errors
    /// In kubectl's words, if it can't be applied.
    pub fn find<'a>(&'a self, object: &'a Value) -> Result<Vec<Vec<Cow<'a, Value>>>, EvalError> {
        let mut found = Vec::new();
        eval::pieces(&self.pieces, object, self.keys, &mut |results| {
            found.push(results);
        })
        .map_err(|what| EvalError { template: self.source.clone(), what })?;
        Ok(found)
    }

    /// The text that it makes of an object. What a terminal acts on is spelled out, but for that in
    /// the template itself.
    ///
    /// # Errors
    /// In kubectl's words, if it can't be applied.
    pub fn text(&self, object: &Value) -> Result<String, EvalError> {
        let mut text = String::new();
        eval::all(&self.pieces, object, self.keys, &mut |result| match result {
            eval::Out::Own(own) => text.push_str(own),
            eval::Out::Found(results) => {
                for (n, result) in results.iter().enumerate() {
                    if n > 0 {
                        text.push(' ');
                    }
                    text.push_str(&shown(result));
                }
            }
        })
        .map_err(|what| EvalError { template: self.source.clone(), what })?;
        Ok(text)
    }
}

/// A result as text: a string as it is, objects and lists as JSON.
fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => visible(text),
        other => Cow::Owned(json(other)),
    }
}

/// JSON in one line as Go writes it, and with nothing in it that a terminal acts on.
fn json(value: &Value) -> String {
    let plain = value.to_string();
    let mut text = String::with_capacity(plain.len());
    for c in plain.chars() {
        // All of these can only be within strings.
        if matches!(c, '<' | '>' | '&') || is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                use fmt::Write;
                // Writing to a String doesn't fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// A result as Go's `fmt.Sprint` writes it, which custom columns show.
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
