//! Typed access to the fields of a kubeconfig entry.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

/// Reason why an entry cannot be used. Never contains a value of the entry, which may be secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::server) struct Problem(String);

impl Problem {
    /// Creates a problem with this text.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fields of an entry. A field that is null or empty counts as missing, as in client-go.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Folder that relative paths are resolved against.
    folder: Option<&'a Path>,
    /// Path of the map within the entry, with a final dot.
    prefix: String,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, folder: Option<&'a Path>) -> Self {
        Self { map, folder, prefix: String::new() }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn problem(&self, name: &str, expected: &str) -> Problem {
        Problem(format!("\"{}{name}\" is not {expected}", self.prefix))
    }

    /// Returns a text, or `None` if it is empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(Value::Number(_) | Value::Bool(_)) => {
                Err(self.problem(name, "a text: put it in quotes"))
            }
            Some(_) => Err(self.problem(name, "a text")),
        }
    }

    /// Returns a path, resolved against the folder of the kubeconfig.
    pub(super) fn path(&self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.text(name)?.map(|path| self.resolve(path)))
    }

    /// Returns a command, resolved if it is a relative path and not a name to search in `PATH`.
    pub(super) fn command(&self, name: &str) -> Result<Option<String>, Problem> {
        let is_path = |command: &str| command.contains(std::path::is_separator);
        let resolve = |command: String| {
            if is_path(&command) { self.resolve(command) } else { command }
        };
        Ok(self.text(name)?.map(resolve))
    }

    fn resolve(&self, path: String) -> String {
        match self.folder {
            Some(folder) if Path::new(&path).is_relative() => {
                folder.join(&path).to_str().map_or(path, ToOwned::to_owned)
            }
            _ => path,
        }
    }

    /// Returns a flag; a missing one is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            // kubectl reads YAML 1.1, which has more words for booleans.
            Some(Value::String(word)) => match word.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Ok(true),
                "no" | "off" | "n" | "false" => Ok(false),
                _ => Err(self.problem(name, "true or false")),
            },
            Some(_) => Err(self.problem(name, "true or false")),
        }
    }

    /// Returns a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Problem> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.problem(name, "a list")),
        };
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Ok(String::new()),
            _ => Err(self.problem(name, "a list of texts: put each in quotes")),
        };
        items.iter().map(text).collect()
    }

    /// Returns the fields of a nested map.
    pub(super) fn map(&self, name: &str) -> Result<Option<Fields<'a>>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(self.nested(name, map))),
            Some(_) => Err(self.problem(name, "a map of settings")),
        }
    }

    /// Returns the fields of each map in a list.
    pub(super) fn maps(&self, name: &str) -> Result<Vec<Fields<'a>>, Problem> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.problem(name, "a list")),
        };
        let map = |item: &'a Value| match item {
            Value::Object(map) => Ok(self.nested(name, map)),
            _ => Err(self.problem(name, "a list of maps")),
        };
        items.iter().map(map).collect()
    }

    fn nested(&self, name: &str, map: &'a Map<String, Value>) -> Fields<'a> {
        Fields { map, folder: self.folder, prefix: format!("{}{name}.", self.prefix) }
    }

    /// Returns a map of texts.
    pub(super) fn text_map(&self, name: &str) -> Result<BTreeMap<String, String>, Problem> {
        let mut texts = BTreeMap::new();
        if let Some(fields) = self.map(name)? {
            for key in fields.map.keys() {
                texts.extend(fields.text(key)?.map(|text| (key.clone(), text)));
            }
        }
        Ok(texts)
    }

    /// Returns a map of lists of texts.
    pub(super) fn texts_map(&self, name: &str) -> Result<BTreeMap<String, Vec<String>>, Problem> {
        let mut lists = BTreeMap::new();
        if let Some(fields) = self.map(name)? {
            for key in fields.map.keys() {
                lists.insert(key.clone(), fields.texts(key)?);
            }
        }
        Ok(lists)
    }

    /// Returns a value of any type.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}
