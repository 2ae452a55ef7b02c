//! Kubeconfig files as entries that are parsed when they are selected.
//!
//! An entry that cannot be used makes no other entry unusable, so only the lists and names of a
//! file are parsed when it is read.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, Options};

use super::fields::{Fields, Problem};

/// Merged entries of kubeconfig files.
#[derive(Clone, Default)]
pub(in crate::server) struct Kubeconfig {
    pub(in crate::server) current_context: Option<String>,
    pub(in crate::server) contexts: Vec<Entry>,
    pub(in crate::server) clusters: Vec<Entry>,
    pub(in crate::server) users: Vec<Entry>,
}

/// Named entry of a kubeconfig, parsed on demand.
#[derive(Clone)]
pub(in crate::server) struct Entry {
    pub(in crate::server) name: String,
    value: Value,
    /// File of the entry, or `None` if the configuration is not from a file.
    file: Option<PathBuf>,
    /// Whether the file has another entry with this name and a different content.
    is_ambiguous: bool,
}

impl Kubeconfig {
    /// Parses the content of a kubeconfig file.
    ///
    /// # Errors
    /// Returns the reason if the content is not a kubeconfig.
    pub(super) fn parse(bytes: &[u8], file: Option<&Path>) -> Result<Self, String> {
        let text = decode_text(bytes)?;
        let mut merged = Self::default();
        // kubectl reads the first document. The entries of further documents don't override it.
        for document in parse_yaml(&text)? {
            merged = merged.merge(Self::from_document(&document, file)?);
        }
        Ok(merged)
    }

    fn from_document(document: &Value, file: Option<&Path>) -> Result<Self, String> {
        let map = match document {
            Value::Null => return Ok(Self::default()),
            Value::Object(map) => map,
            _ => return Err("it is not a kubeconfig: expected settings with names".to_owned()),
        };
        let list = |list: &str, content: &str| match map.get(list) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(entries(items, content, file)),
            Some(_) => Err(format!("\"{list}\" is not a list")),
        };
        let current_context = match map.get("current-context") {
            None | Some(Value::Null) => None,
            // An empty context counts as unset and must not override that of the next file.
            Some(Value::String(name)) => Some(name.clone()).filter(|name| !name.is_empty()),
            Some(other) => Some(other.to_string()),
        };
        Ok(Self {
            current_context,
            contexts: list("contexts", "context")?,
            clusters: list("clusters", "cluster")?,
            users: list("users", "user")?,
        })
    }

    /// Adds the entries of a later file, which override nothing.
    pub(super) fn merge(mut self, next: Self) -> Self {
        let add = |known: &mut Vec<Entry>, next: Vec<Entry>| {
            for entry in next {
                if !known.iter().any(|first| first.name == entry.name) {
                    known.push(entry);
                }
            }
        };
        add(&mut self.contexts, next.contexts);
        add(&mut self.clusters, next.clusters);
        add(&mut self.users, next.users);
        self.current_context = self.current_context.or(next.current_context);
        self
    }
}

/// Collects the entries of a list. Items that are no entries are skipped, because they have no name
/// to select them by.
fn entries(items: &[Value], content: &str, file: Option<&Path>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    for item in items.iter().filter_map(Value::as_object) {
        let name = match item.get("name") {
            Some(Value::String(name)) => name.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let value = item.get(content).cloned().unwrap_or(Value::Null);
        if let Some(first) = entries.iter_mut().find(|entry| entry.name == name) {
            first.is_ambiguous |= first.value != value;
        } else {
            let file = file.map(Path::to_owned);
            entries.push(Entry { name, value, file, is_ambiguous: false });
        }
    }
    entries
}

impl Entry {
    /// Parses the fields of the entry.
    ///
    /// # Errors
    /// Returns the reason if the entry cannot be used.
    pub(super) fn parse<T>(
        &self,
        parse: impl FnOnce(&Fields<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.is_ambiguous {
            return Err(Problem::new("the file has several entries with this name"));
        }
        let empty = Map::new();
        let map = match &self.value {
            Value::Null => &empty,
            Value::Object(map) => map,
            _ => return Err(Problem::new("its content is not a map of settings")),
        };
        parse(&Fields::new(map, self.file.as_deref().and_then(Path::parent)))
    }

    /// Returns the file for an error message, or an empty text.
    pub(super) fn file_suffix(&self) -> String {
        self.file.as_ref().map_or(String::new(), |file| format!(" {}", file.display()))
    }
}

/// Decodes UTF-8, or UTF-16 with a byte order mark, which editors on Windows write.
fn decode_text(bytes: &[u8]) -> Result<String, String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map(unit));
        let units: Result<Vec<u16>, _> = units.collect();
        units.ok().and_then(|units| String::from_utf16(&units).ok()).ok_or("Invalid UTF-16")
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            std::str::from_utf8(rest).map(ToOwned::to_owned).map_err(|_| "Invalid UTF-8")
        }
    }
    .map_err(ToOwned::to_owned)
}

fn parse_yaml(text: &str) -> Result<Vec<Value>, String> {
    // Like in kubectl, the last of two equal keys applies. Words as "on" stay texts, because a name
    // or a password may be one; `Fields::flag` reads them.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
    };
    let parse = |options: Options| serde_saphyr::from_multiple_with_options(text, options);
    parse(options).map_err(|error| {
        let text = error.to_string();
        // The first line has the reason; the parser adds an excerpt of the file.
        text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
    })
}

#[cfg(test)]
mod tests;
