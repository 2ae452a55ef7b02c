//! Evaluation of a template on an object.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{End, Filter, Piece, Slice, Step};

type Results<'a> = Vec<Cow<'a, Value>>;

/// The treatment of missing fields.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum MissingKeys {
    /// A missing field yields nothing.
    #[default]
    Allow,
    /// A missing field is an error.
    Error,
}

/// A part of the output of a template.
pub(super) enum OutputPart<'a> {
    /// Literal text of the template.
    Literal(&'a str),
    /// The results of an expression.
    Found(Results<'a>),
}

/// Returns the results of all pieces in order, literal text included.
pub(super) fn pieces<'a>(
    pieces: &'a [Piece],
    object: &'a Value,
    keys: MissingKeys,
    found: &mut dyn FnMut(Results<'a>),
) -> Result<(), String> {
    all(pieces, object, keys, &mut |out| {
        found(match out {
            OutputPart::Literal(text) => vec![Cow::Owned(Value::from(text))],
            OutputPart::Found(results) => results,
        });
    })
}

/// Evaluates all pieces in order.
pub(super) fn all<'a>(
    pieces: &'a [Piece],
    object: &'a Value,
    keys: MissingKeys,
    out: &mut dyn FnMut(OutputPart<'a>),
) -> Result<(), String> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out(OutputPart::Literal(text)),
            Piece::Action(steps) => match steps.as_slice() {
                [Step::Literal(Value::String(text))] => out(OutputPart::Literal(text)),
                steps => out(OutputPart::Found(walk(vec![Cow::Borrowed(object)], steps, keys)?)),
            },
            Piece::Range(over, body) => {
                for item in walk(vec![Cow::Borrowed(object)], over, keys)? {
                    each(item, body, keys, out)?;
                }
            }
            Piece::End => return Err("not in range, nothing to end".to_owned()),
        }
    }
    Ok(())
}

/// Evaluates the body of a range for one item.
fn each<'a>(
    item: Cow<'a, Value>,
    body: &'a [Piece],
    keys: MissingKeys,
    out: &mut dyn FnMut(OutputPart<'a>),
) -> Result<(), String> {
    match item {
        Cow::Borrowed(item) => all(body, item, keys, out),
        // The result of a literal must outlive the literal.
        Cow::Owned(item) => {
            let mut own = Vec::new();
            pieces(body, &item, keys, &mut |results| {
                own.push(results.into_iter().map(Cow::into_owned).collect::<Vec<_>>());
            })?;
            for results in own {
                out(OutputPart::Found(results.into_iter().map(Cow::Owned).collect()));
            }
            Ok(())
        }
    }
}

fn walk<'a>(
    mut results: Results<'a>,
    steps: &'a [Step],
    keys: MissingKeys,
) -> Result<Results<'a>, String> {
    for step in steps {
        results = match step {
            Step::Field(name) => {
                // Without a value to look into, no field is missing.
                let needs = keys == MissingKeys::Error && !results.is_empty();
                let found = each_of(results, |value| match value {
                    Value::Object(map) => Ok(map.get(name).into_iter().collect()),
                    _ => Ok(Vec::new()),
                })?;
                if found.is_empty() && needs {
                    return Err(format!("{name} is not found"));
                }
                found
            }
            Step::Wildcard => each_of(results, |value| Ok(children(value)))?,
            Step::Recursive => each_of(results, |value| {
                let mut found = Vec::new();
                descend(value, &mut found);
                Ok(found)
            })?,
            Step::Slice(slice) => each_of(results, |value| apply_slice(value, *slice))?,
            Step::Filter(filter) => each_of(results, |value| filtered(value, filter, keys))?,
            Step::Union(parts) => {
                let mut union = Vec::new();
                for part in parts {
                    union.extend(walk(results.clone(), part, keys)?);
                }
                union
            }
            Step::Literal(value @ Value::String(_)) => vec![Cow::Borrowed(value)],
            Step::Literal(value) => results.iter().map(|_| Cow::Borrowed(value)).collect(),
            Step::Unknown(word) if word == "end" => {
                return Err("not in range, nothing to end".to_owned());
            }
            Step::Unknown(word) => return Err(format!("unrecognized identifier {word}")),
        };
    }
    Ok(results)
}

/// Returns the results of `find` in each of the values.
fn each_of<'a>(
    values: Results<'a>,
    found: impl for<'b> Fn(&'b Value) -> Result<Vec<&'b Value>, String>,
) -> Result<Results<'a>, String> {
    let mut results = Vec::new();
    for value in values {
        match value {
            Cow::Borrowed(value) => {
                results.extend(found(value)?.into_iter().map(Cow::Borrowed));
            }
            Cow::Owned(value) => {
                results.extend(found(&value)?.into_iter().cloned().map(Cow::Owned));
            }
        }
    }
    Ok(results)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}

/// Collects a value and all of its descendants, except empty ones.
fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    let children = children(value);
    let is_text = value.as_str().is_some_and(|text| !text.is_empty());
    if is_text || !children.is_empty() {
        found.push(value);
    }
    for child in children {
        descend(child, found);
    }
}

fn apply_slice(value: &Value, slice: Slice) -> Result<Vec<&Value>, String> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(format!("{} is not array or slice", kind(other))),
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_end = |at: i64| {
        if at < 0 { at.saturating_add(length) } else { at }
    };
    let start = slice.start.unwrap_or(0);
    let end = match slice.end {
        End::Open => length,
        End::At(end) => from_end(end),
        End::Next if start == -1 => length,
        End::Next => from_end(start.saturating_add(1)),
    };
    let start = from_end(start);
    if start == end {
        return Ok(Vec::new());
    }
    if !(0..length).contains(&start) {
        return Err(format!("array index out of bounds: index {start}, length {length}"));
    }
    if !(0..=length).contains(&end) {
        return Err(format!(
            "array index out of bounds: index {}, length {length}",
            end.saturating_sub(1)
        ));
    }
    if start > end {
        return Err(format!("starting index {start} is greater than ending index {end}"));
    }
    let step = match slice.step {
        None => 1,
        Some(step) => {
            usize::try_from(step).ok().filter(|step| *step > 0).ok_or("step must be > 0")?
        }
    };
    let at = |index: i64| usize::try_from(index).unwrap_or_default();
    let slice = items.get(at(start)..at(end)).unwrap_or_default();
    Ok(slice.iter().step_by(step).collect())
}

fn filtered<'a>(
    value: &'a Value,
    filter: &Filter,
    keys: MissingKeys,
) -> Result<Vec<&'a Value>, String> {
    let Value::Array(items) = value else {
        return Err(format!(
            "{} is not array or slice and cannot be filtered",
            super::go_text(value)
        ));
    };
    let mut kept = Vec::new();
    for item in items {
        if matches_filter(item, filter, keys)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn matches_filter(item: &Value, filter: &Filter, keys: MissingKeys) -> Result<bool, String> {
    let left = walk(vec![Cow::Borrowed(item)], &filter.left, keys);
    let Some((sign, right)) = &filter.compared else {
        // Like kubectl, a path that can't be evaluated counts as existing.
        return Ok(left.map_or(true, |left| !left.is_empty()));
    };
    let right = || walk(vec![Cow::Borrowed(item)], right, keys);
    let Some(left) = single(left?)? else {
        return Ok(false);
    };
    let Some(right) = single(right()?)? else {
        return Ok(false);
    };
    match sign.as_str() {
        "==" => Ok(compare(&left, &right)? == Some(Ordering::Equal)),
        "!=" => Ok(compare(&left, &right)? != Some(Ordering::Equal)),
        "<" => Ok(order(&left, &right)? == Some(Ordering::Less)),
        "<=" => Ok(order(&left, &right)?.is_some_and(Ordering::is_le)),
        ">" => Ok(order(&left, &right)? == Some(Ordering::Greater)),
        ">=" => Ok(order(&left, &right)?.is_some_and(Ordering::is_ge)),
        sign => Err(format!("unrecognized filter operator {sign}")),
    }
}

fn single(mut results: Results<'_>) -> Result<Option<Cow<'_, Value>>, String> {
    if results.len() > 1 {
        return Err("can only compare one element at a time".to_owned());
    }
    Ok(results.pop())
}

/// Compares values of a type with an order.
fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        _ => compare(left, right),
    }
}

/// Compares values of the same type. Integers and floats are different types.
fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Number(left), Value::Number(right)) => {
            match (left.as_i64(), right.as_i64(), left.as_f64(), right.as_f64()) {
                (Some(left), Some(right), ..) => Ok(Some(left.cmp(&right))),
                (None, None, Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
                _ => Err("incompatible types for comparison".to_owned()),
            }
        }
        (left, right)
            if [left, right].iter().any(|value| value.is_null() || is_container(value)) =>
        {
            Err("invalid type for comparison".to_owned())
        }
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn is_container(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// Returns the name of the type in Go.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
