//! JSON and YAML in the format of `kubectl get`.

use std::io;

use serde::Serialize;
use serde_json::{
    Value, json,
    ser::{Formatter, PrettyFormatter, Serializer},
};

use super::{escape::is_unsafe, yaml};

/// The formats of complete objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// JSON with an indentation of four spaces.
    Json,
    /// YAML in kubectl's style.
    Yaml,
}

/// Returns the items as the `v1` List that `kubectl get` prints and `kubectl apply` accepts.
#[must_use]
pub fn list(items: Vec<Value>) -> Value {
    let mut list = json!({
        "apiVersion": "v1",
        "items": null,
        "kind": "List",
        "metadata": { "resourceVersion": "" },
    });
    // Move the items: the macro would copy them, and there may be many.
    list["items"] = Value::Array(items);
    list
}

/// Removes `metadata.managedFields` from an object, like kubectl.
pub fn remove_managed_fields(item: &mut Value) {
    if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Returns the value in a format, with a final line break.
///
/// # Errors
/// No error is known: a JSON value can always be serialised.
pub fn render(value: &Value, format: Format) -> io::Result<String> {
    match format {
        Format::Yaml => Ok(yaml::to_string(value)),
        Format::Json => {
            let mut bytes = Vec::new();
            let formatter = Visible(PrettyFormatter::with_indent(b"    "));
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
            bytes.push(b'\n');
            String::from_utf8(bytes).map_err(io::Error::other)
        }
    }
}

/// Escapes DEL, the C1 controls and invisible characters in addition to those that JSON requires.
struct Visible(PrettyFormatter<'static>);

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }
    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_json_like_kubectl() {
        let mut item = json!({ "metadata": { "name": "a", "managedFields": [{}] }, "spec": {} });
        remove_managed_fields(&mut item);
        assert_eq!(
            render(&list(vec![item]), Format::Json).unwrap(),
            r#"{
    "apiVersion": "v1",
    "items": [
        {
            "metadata": {
                "name": "a"
            },
            "spec": {}
        }
    ],
    "kind": "List",
    "metadata": {
        "resourceVersion": ""
    }
}
"#
        );
        assert!(render(&list(Vec::new()), Format::Json).unwrap().contains("\"items\": [],"));
    }

    #[test]
    fn escapes_json_without_changing_its_value() {
        let value = json!({ "a\u{9b}": "\u{1b}[0m \u{7f}\u{202e}\u{e0041}é\"\\\n🦀" });
        let text = render(&value, Format::Json).unwrap();
        assert!(!text.replace('\n', "").contains(is_unsafe), "{text:?}");
        assert!(
            text.contains(r#""a\u009b": "\u001b[0m \u007f\u202e\udb40\udc41é\"\\\n🦀""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
