//! Splitting of a list response into its objects while it arrives.

/// The maximum size of an object in bytes. The API server stores at most 3 MiB of one.
const MAX_OBJECT: usize = 8 << 20;

/// Finds the objects of a list response in chunks of its body.
///
/// The response itself is never held: a page of large objects would exceed the memory of the
/// process. The body must be JSON, which the API server guarantees.
#[derive(Debug, Default)]
pub(super) struct ItemSplitter {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The last string outside of the items, which is a key if a colon follows.
    string: Vec<u8>,
    field: Field,
    /// The object or the metadata that is being read.
    value: Vec<u8>,
    too_large: bool,
    metadata: Vec<u8>,
}

/// The field of the list that is being read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Field {
    Metadata,
    Items,
    #[default]
    Other,
}

/// The maximum length of a field name of a list.
const MAX_FIELD: usize = 32;

impl ItemSplitter {
    /// Reads a chunk and calls `item` with each object that it completes.
    ///
    /// An object over the size limit is passed as `None`.
    pub(super) fn push(&mut self, chunk: &[u8], mut item: impl FnMut(Option<&[u8]>)) {
        for &byte in chunk {
            if self.is_in_value() {
                self.append(byte);
            }
            if self.in_string {
                self.push_in_string(byte);
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.string.clear();
                }
                b':' if self.depth == 1 => {
                    self.field = match &*self.string {
                        b"metadata" => Field::Metadata,
                        b"items" => Field::Items,
                        _ => Field::Other,
                    };
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.depth == self.value_depth() {
                        self.value.clear();
                        self.too_large = false;
                        self.append(byte);
                    }
                }
                b'}' | b']' => {
                    let completes = self.depth == self.value_depth();
                    self.depth = self.depth.saturating_sub(1);
                    if !completes {
                        continue;
                    }
                    if self.field == Field::Items {
                        item((!self.too_large).then_some(&self.value));
                    } else {
                        self.metadata = std::mem::take(&mut self.value);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the metadata of the list, or `None` if the response was cut off.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (self.depth == 0 && !self.metadata.is_empty()).then_some(self.metadata)
    }

    /// Returns the depth of the values that are collected: objects, or the list's metadata.
    fn value_depth(&self) -> u32 {
        match self.field {
            Field::Items => 3,
            Field::Metadata => 2,
            Field::Other => u32::MAX,
        }
    }

    fn is_in_value(&self) -> bool {
        self.depth >= self.value_depth()
    }

    fn append(&mut self, byte: u8) {
        if self.value.len() < MAX_OBJECT {
            self.value.push(byte);
        } else {
            self.too_large = true;
        }
    }

    fn push_in_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ if self.depth == 1 && self.string.len() < MAX_FIELD => self.string.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns the objects and the metadata found in a body that arrives in chunks.
    fn split(body: &str, chunk: usize) -> (Vec<Value>, Option<Value>) {
        let mut items = Vec::new();
        let mut splitter = ItemSplitter::default();
        for chunk in body.as_bytes().chunks(chunk) {
            splitter.push(chunk, |item| items.push(serde_json::from_slice(item.unwrap()).unwrap()));
        }
        let metadata = splitter.finish().map(|bytes| serde_json::from_slice(&bytes).unwrap());
        (items, metadata)
    }

    #[test]
    fn finds_objects_in_any_layout() {
        let hostile = json!({
            "metadata": { "name": "a", "items": [{ "metadata": {} }] },
            "text": "\"items\":[{}]}]\\", "]}": ["[{\"", { "items": 1 }],
        });
        let objects = vec![json!({}), hostile.clone(), json!({ "é": "{" })];
        let metadata = json!({ "resourceVersion": "7", "continue": "items\":[{}]" });
        for list in [
            json!({ "kind": "List", "metadata": metadata, "items": objects }),
            json!({ "aaa": { "items": [{}] }, "items": objects, "metadata": metadata }),
            json!({ "items": objects, "kind": "metadata", "metadata": metadata, "zzz": [[{}]] }),
        ] {
            for body in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
                for chunk in [1, 7, 1 << 20] {
                    assert_eq!(split(&body, chunk), (objects.clone(), Some(metadata.clone())));
                }
            }
        }
        for (body, metadata) in [
            (r#"{"metadata":{"resourceVersion":"1"},"items":null}"#, true),
            (r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#, true),
            (r#"{"metadata":{"resourceVersion":"1"},"items":[{"#, false),
            (r#"{"metadata":{"resou"#, false),
            ("", false),
        ] {
            let (items, found) = split(body, 3);
            assert_eq!((items.len(), found.is_some()), (0, metadata), "{body}");
        }
    }

    #[test]
    fn skips_objects_over_the_limit() {
        let large = format!(r#"{{"metadata":{{}},"a":"{}"}}"#, "x".repeat(MAX_OBJECT));
        let body = format!(r#"{{"items":[{large},{{"b":1}}],"metadata":{{"c":1}}}}"#);
        let (mut found, mut splitter) = (Vec::new(), ItemSplitter::default());
        splitter.push(body.as_bytes(), |item| found.push(item.map(<[u8]>::len)));
        assert_eq!(found, [None, Some(r#"{"b":1}"#.len())]);
        assert_eq!(splitter.finish().unwrap(), br#"{"c":1}"#);
    }
}
