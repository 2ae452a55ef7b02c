//! mirrord's configuration file, extended by annotations for its agent.
//!
//! mirrord renders the file as a Tera template before it parses it. Existing content is therefore
//! kept byte by byte, and added content contains nothing that a template engine interprets.

use std::{collections::BTreeMap, fmt, fmt::Write, path::Path};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};
use toml_edit::DocumentMut;

/// The formats of configuration files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Json,
    Toml,
    Yaml,
}

impl Format {
    /// Returns the format by the extension, like mirrord.
    pub(crate) fn from_path(path: &Path) -> Option<Self> {
        match path.extension().map(|extension| extension.to_str()) {
            None | Some(Some("json")) => Some(Self::Json),
            Some(Some("toml")) => Some(Self::Toml),
            Some(Some("yaml" | "yml")) => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Returns the extension with its dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Json => ".json",
            Self::Toml => ".toml",
            Self::Yaml => ".yaml",
        }
    }

    /// Parses a file without rendering its templates.
    ///
    /// # Errors
    /// Returns an error if the file is only valid after rendering, or not at all.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let first_line = |error: &dyn fmt::Display| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let value: Value = match self {
            Self::Json => serde_json::from_str(text).map_err(|error| first_line(&error))?,
            Self::Toml => toml_edit::de::from_str(text).map_err(|error| first_line(&error))?,
            Self::Yaml => serde_saphyr::from_str(text).map_err(|error| first_line(&error))?,
        };
        match value {
            Value::Object(_) => Ok(value),
            Value::Null if self == Self::Yaml => Ok(Value::Object(serde_json::Map::new())),
            _ => Err("it is no map of settings".to_owned()),
        }
    }
}

/// The value of an annotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AnnotationValue {
    /// A literal text value.
    Text(String),
    /// The session key of mirrord, inserted by its template engine.
    Key,
}

/// Annotations by their names.
pub(crate) type Annotations = BTreeMap<&'static str, AnnotationValue>;

impl AnnotationValue {
    /// Returns the value as a JSON string, which is valid in TOML and YAML too.
    fn to_quoted(&self) -> String {
        let Self::Text(text) = self else {
            return "\"{{ key }}\"".to_owned();
        };
        let mut quoted = String::from("\"");
        for c in text.chars() {
            // These characters begin and end templates, strings and escapes.
            let is_plain = !c.is_control() && !"\"\\{}%#".contains(c);
            // Characters above are never part of a template, and would need two escapes.
            if is_plain || u32::from(c) > 0xffff {
                quoted.push(c);
            } else {
                // Writing to a String never fails.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
        }
        quoted.push('"');
        quoted
    }
}

/// Returns the file with added annotations of the agent, which override existing ones.
///
/// # Errors
/// Returns the reason if the rest of the file can't be kept unchanged.
pub(crate) fn add_annotations(
    text: &str,
    format: Format,
    annotations: &Annotations,
) -> Result<String, String> {
    match format {
        Format::Json => add_json_annotations(text, annotations),
        Format::Toml => add_toml_annotations(text, annotations),
        Format::Yaml => add_yaml_annotations(text, annotations),
    }
}

fn add_json_annotations(text: &str, annotations: &Annotations) -> Result<String, String> {
    let mut all = Fields::read(text)?;
    let mut agent = all.inner("agent")?;
    let mut agent_annotations = agent.inner("annotations")?;
    for (name, value) in annotations {
        agent_annotations.set(name, value.to_quoted());
    }
    agent.set("annotations", agent_annotations.to_text());
    all.set("agent", agent.to_text());
    Ok(all.to_text())
}

/// The fields of a JSON object, with their values verbatim.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn inner(&self, name: &str) -> Result<Self, String> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (None, _) => Ok(Self::default()),
            (Some(_), Some(_)) => Err(format!("it has \"{name}\" twice")),
            (Some((_, value)), None) if value == "null" => Ok(Self::default()),
            (Some((_, value)), None) => {
                Self::read(value).map_err(|_| format!("its \"{name}\" is no object"))
            }
        }
    }

    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.to_owned(), value));
    }

    fn to_text(&self) -> String {
        let pair = |(key, value): &(String, String)| format!("{}:{value}", Value::from(&**key));
        let pairs: Vec<String> = self.0.iter().map(pair).collect();
        format!("{{{}}}", pairs.join(","))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.0.push((key, value.get().to_owned()));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn add_toml_annotations(text: &str, annotations: &Annotations) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|_| "it is no TOML before it is rendered".to_owned())?;
    let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
    for name in ["agent", "annotations"] {
        let item = table.entry(name).or_insert_with(toml_edit::table);
        table = item.as_table_like_mut().ok_or_else(|| format!("its \"{name}\" is no table"))?;
    }
    for (name, value) in annotations {
        let value: toml_edit::Value =
            value.to_quoted().parse().map_err(|_| format!("{name} can't be written in TOML"))?;
        table.insert(name, toml_edit::value(value));
    }
    Ok(document.to_string())
}

fn add_yaml_annotations(text: &str, annotations: &Annotations) -> Result<String, String> {
    let before = Format::Yaml.parse(text)?;
    if before.get("agent").is_none_or(Value::is_null) {
        let mut derived = text.trim_end().to_owned();
        derived.push_str("\nagent:\n  annotations:\n");
        for (name, value) in annotations {
            let _ = writeln!(derived, "    \"{name}\": {}", value.to_quoted());
        }
        // A YAML file in flow style or with several documents can't be extended at its end.
        if Format::Yaml.parse(&derived).is_ok_and(|after| {
            without_agent(&after) == without_agent(&before)
                && after.pointer("/agent/annotations").is_some()
        }) {
            return Ok(derived);
        }
    }
    if ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
        return Err("it has templates, and agent settings that would have to be rewritten".into());
    }
    // JSON is valid YAML.
    add_json_annotations(&before.to_string(), annotations)
}

fn without_agent(value: &Value) -> Option<serde_json::Map<String, Value>> {
    let mut map = value.as_object()?.clone();
    map.remove("agent");
    Some(map)
}

/// The target, namespace, kubeconfig, context and key of a configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ConfiguredSession {
    pub(crate) target: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) kubeconfig: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
}

impl ConfiguredSession {
    /// Extracts the fields from the result of [`Format::parse`].
    pub(crate) fn from_config(config: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(ToOwned::to_owned);
        let target = config.get("target");
        let path = target.and_then(|target| target.get("path")).or(target);
        Self {
            target: path.and_then(parse_target),
            namespace: text(target.and_then(|target| target.get("namespace"))),
            kubeconfig: text(config.get("kubeconfig")),
            context: text(config.get("kube_context")),
            key: text(config.get("key")),
        }
    }
}

/// Returns `kind/name[/container/NAME]` from mirrord's string or object.
fn parse_target(path: &Value) -> Option<String> {
    const KINDS: [(&str, &str); 8] = [
        ("deployment", "deployment"),
        ("pod", "pod"),
        ("rollout", "rollout"),
        ("job", "job"),
        ("cron_job", "cronjob"),
        ("stateful_set", "statefulset"),
        ("service", "service"),
        ("replica_set", "replicaset"),
    ];
    if let Some(text) = path.as_str() {
        return Some(text.to_owned());
    }
    let text = |name: &str| path.get(name).and_then(Value::as_str);
    let target = KINDS.iter().find_map(|(field, kind)| {
        let name = text(field)?;
        Some(format!("{kind}/{name}"))
    })?;
    Some(match text("container") {
        Some(container) => format!("{target}/container/{container}"),
        None => target,
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
