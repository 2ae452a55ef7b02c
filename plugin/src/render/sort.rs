//! Sorting by `--sort-by`, like kubectl.

use std::cmp::Ordering;

use serde_json::Value;

use crate::{error::Error, jsonpath::Template};

/// The sort key of objects.
#[derive(Clone, Debug)]
pub struct SortBy(Template);

impl SortBy {
    /// Parses a path, whose braces and leading dot may be omitted.
    ///
    /// # Errors
    /// Returns kubectl's error.
    pub fn parse(path: &str) -> Result<Self, Error> {
        Template::relaxed(path).map(Self).map_err(Error::setup)
    }

    /// Sorts objects by the key. Objects without the field come first.
    ///
    /// # Errors
    /// Returns an error if no object has the field, or if its values can't be compared.
    pub fn sort(&self, items: &mut Vec<Value>) -> Result<(), Error> {
        let mut keyed = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            let key = self.key(&item)?;
            keyed.push((key, item));
        }
        if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
            return Err(Error::setup(format!(
                "couldn't find any field with path {:?} in the list of objects",
                self.0.source()
            )));
        }
        keyed.sort_by(|(left, _), (right, _)| compare(left.as_ref(), right.as_ref()));
        items.extend(keyed.into_iter().map(|(_, item)| item));
        Ok(())
    }

    fn key(&self, item: &Value) -> Result<Option<Value>, Error> {
        let found = self.0.find(item);
        let found = found.map_err(|error| Error::setup(error.to_string()))?;
        let first = found.into_iter().next().into_iter().flatten().next();
        match first.map(std::borrow::Cow::into_owned) {
            Some(Value::Array(_) | Value::Object(_)) => Err(Error::setup(format!(
                "{} is neither a number nor a string: choose another field with --sort-by",
                self.0.source()
            ))),
            other => Ok(other),
        }
    }
}

fn compare(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left, right) {
        (Some(Value::String(left)), Some(Value::String(right))) => {
            match (number(left), number(right)) {
                // kubectl compares such strings as quantities.
                (Some(left), Some(right)) => left.total_cmp(&right),
                _ => left.cmp(right),
            }
        }
        (Some(left), Some(right)) => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => left.to_string().cmp(&right.to_string()),
        },
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// Parses a plain decimal number.
fn number(text: &str) -> Option<f64> {
    let is_decimal = |byte: u8| byte.is_ascii_digit() || b"+-.".contains(&byte);
    text.bytes().all(is_decimal).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sorted(by: &str, values: &[Value]) -> Result<Vec<Value>, String> {
        let mut items: Vec<Value> = values.iter().map(|value| json!({ "v": value })).collect();
        items.push(json!({ "other": 1 }));
        let sort = SortBy::parse(by).map_err(|error| error.to_string())?;
        sort.sort(&mut items).map_err(|error| error.to_string())?;
        Ok(items.into_iter().map(|item| item["v"].clone()).collect())
    }

    #[test]
    fn sorts_by_numbers_and_strings() {
        for path in ["v", ".v", "{.v}"] {
            assert_eq!(
                sorted(path, &[json!("b"), json!("a"), json!("10"), json!("9")]),
                Ok(vec![json!(null), json!("9"), json!("10"), json!("a"), json!("b")])
            );
        }
        assert_eq!(
            sorted("v", &[json!(10), json!(9), json!(-1)]),
            Ok(vec![json!(null), json!(-1), json!(9), json!(10)])
        );
    }

    #[test]
    fn rejects_unsortable_fields() {
        for (by, expected) in [
            ("nothing", "couldn't find any field with path \"{.nothing}\" in the list of objects"),
            ("{.v", "error: unexpected path string"),
            ("v[", "error: error parsing jsonpath {.v[}, unterminated array"),
        ] {
            let error = sorted(by, &[json!(1)]).unwrap_err();
            assert!(error.contains(expected), "{by}: {error}");
        }
        let error = sorted("v", &[json!([1])]).unwrap_err();
        assert!(error.contains("neither a number nor a string"), "{error}");
    }
}
