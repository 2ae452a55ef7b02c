//! Output formats of a list: the values of `-o`.

use std::{fs::File, io::Read};

use serde_json::Value;

use super::output::Format;
use crate::{
    error::{Error, shell},
    jsonpath::{Template, go_text},
};

/// The output format of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum ListFormat {
    /// Plain columns of text.
    Plain,
    /// Plain columns with the additional ones of `-o wide`.
    Wide,
    /// The bordered table of mirrord.
    Table,
    /// The names of the sessions.
    Name,
    /// Complete objects in a format.
    Object(Format),
    /// The text of a JSONPath template.
    Template(Template),
    /// The results of a JSONPath template as JSON lists.
    TemplateAsJson(Template),
    /// Custom columns with JSONPath templates.
    Columns(Vec<CustomColumn>),
}

/// A custom column of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomColumn {
    /// The header of the column.
    pub header: String,
    /// The template of the cells.
    pub path: Template,
}

/// The supported formats in the style of kubectl's message.
const FORMATS: &str = "custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,table,wide,yaml";

/// The formats that use the value of `--template`.
const WITH_TEMPLATE: [&str; 7] = [
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "go-template",
    "go-template-file",
    "template",
    "templatefile",
];

/// Limit of a template file, in bytes.
const MAX_TEMPLATE: u64 = 1 << 20;

impl ListFormat {
    /// Parses the values of `-o` and `--template`.
    ///
    /// # Errors
    /// Returns kubectl's error.
    pub fn parse(output: Option<&str>, template: Option<&str>) -> Result<Self, Error> {
        let template_flag = template.filter(|template| !template.is_empty());
        let output = match (output.unwrap_or_default(), template_flag) {
            ("", Some(_)) => "go-template",
            (output, _) => output,
        };
        let (name, argument) = match output.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (output, None),
        };
        let source = argument.filter(|source| !source.is_empty()).or(template_flag);
        let parse =
            |source: &str| Template::parse(source).map_err(|error| Error::setup(error.to_string()));
        let template = || parse(source.ok_or_else(no_template)?);
        // kubectl ignores the template here, although the user expects its output.
        if template_flag.is_some()
            && FORMATS.split(',').any(|format| format == name)
            && !WITH_TEMPLATE.contains(&name)
        {
            return Err(Error::setup(format!(
                "--template option cannot be used with {name} printer: leave out one of them"
            )));
        }
        Ok(match (name, argument) {
            ("", None) => Self::Plain,
            ("wide", None) => Self::Wide,
            ("table", None) => Self::Table,
            ("name", None) => Self::Name,
            ("json", None) => Self::Object(Format::Json),
            ("yaml", None) => Self::Object(Format::Yaml),
            ("jsonpath", _) => Self::Template(template()?),
            ("jsonpath-as-json", _) => Self::TemplateAsJson(template()?),
            ("jsonpath-file", _) => Self::Template(parse(&read("--template", source)?)?),
            ("go-template" | "template", _) => return Err(go_template("go-template", source)),
            ("go-template-file" | "templatefile", _) => {
                return Err(go_template("go-template-file", source));
            }
            ("custom-columns", _) => Self::Columns(columns(argument.unwrap_or_default())?),
            ("custom-columns-file", _) => {
                Self::Columns(parse_columns_file(&read("custom-columns-file", argument)?)?)
            }
            _ => {
                return Err(Error::setup(format!(
                    "unable to match a printer suitable for the output format \"{output}\", allowed formats are: {FORMATS}"
                )));
            }
        })
    }

    /// Returns the format with errors for missing fields of JSONPath templates.
    #[must_use]
    pub fn strict(self) -> Self {
        match self {
            Self::Template(template) => Self::Template(template.strict()),
            Self::TemplateAsJson(template) => Self::TemplateAsJson(template.strict()),
            other => other,
        }
    }

    /// Returns whether each page can be printed when it arrives, independently of the others.
    #[must_use]
    pub fn streams(&self) -> bool {
        matches!(self, Self::Plain | Self::Name | Self::Columns(_))
    }

    /// Returns whether the format prints a list as one object, even an empty one.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Template(_) | Self::TemplateAsJson(_))
    }
}

/// Returns the error that names kubectl's own command for a go-template.
fn go_template(format: &str, source: Option<&str>) -> Error {
    let source = source.map_or_else(|| "…".to_owned(), shell);
    Error::setup(format!(
        "go-templates are not supported here: run \"kubectl get sessiontrackers -o {format}={source}\", or use -o jsonpath"
    ))
}

fn no_template() -> Error {
    Error::setup("template format specified but no template given")
}

fn read(what: &str, path: Option<&str>) -> Result<String, Error> {
    let path = path.filter(|path| !path.is_empty()).ok_or_else(no_template)?;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEMPLATE).read_to_string(&mut text))
        .map_err(|error| Error::setup(format!("error reading {what} {path}, {error}")))?;
    Ok(text)
}

fn column(header: &str, path: &str) -> Result<CustomColumn, Error> {
    Ok(CustomColumn {
        header: header.to_owned(),
        path: Template::relaxed(path).map_err(Error::setup)?,
    })
}

/// Parses `NAME:.metadata.name,TARGET:.spec.target`.
fn columns(spec: &str) -> Result<Vec<CustomColumn>, Error> {
    if spec.is_empty() {
        return Err(Error::setup("custom-columns format specified but no custom columns given"));
    }
    let column = |part: &str| match part.split_once(':') {
        Some((header, path)) => column(header, path),
        None => Err(Error::setup(format!(
            "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
        ))),
    };
    spec.split(',').map(column).collect()
}

/// Parses a line of headers and a line of paths.
fn parse_columns_file(text: &str) -> Result<Vec<CustomColumn>, Error> {
    let mut lines = text.lines();
    let mut line = |what: &str| {
        let line = lines.next().ok_or_else(|| {
            Error::setup(format!(
                "invalid template, missing {what} line. Expected format is one line of space separated headers, one line of space separated column specs."
            ))
        })?;
        Ok::<_, Error>(line.split_whitespace().collect::<Vec<_>>())
    };
    let (headers, paths) = (line("header")?, line("spec")?);
    if headers.len() != paths.len() {
        return Err(Error::setup(format!(
            "number of headers ({}) and field specifications ({}) don't match",
            headers.len(),
            paths.len()
        )));
    }
    let pairs = headers.into_iter().zip(paths);
    pairs.map(|(header, path)| column(header, path)).collect()
}

impl CustomColumn {
    /// Returns the cell of an object.
    ///
    /// # Errors
    /// Returns kubectl's error if the path can't be evaluated.
    pub fn cell(&self, object: &Value) -> Result<String, Error> {
        let found = self.path.find(object);
        let found = found.map_err(|error| Error::setup(error.to_string()))?;
        let cells: Vec<String> = found.iter().flatten().map(|value| go_text(value)).collect();
        Ok(if cells.is_empty() { super::listing::NONE.to_owned() } else { cells.join(",") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_kubectls_errors() {
        let cases = [
            (
                "nope",
                "unable to match a printer suitable for the output format \"nope\", allowed formats are: custom-columns,",
            ),
            ("json=x", "unable to match a printer suitable for the output format \"json=x\""),
            ("kyaml", "unable to match a printer"),
            (
                "go-template={{.a}}",
                "go-templates are not supported here: run \"kubectl get sessiontrackers -o go-template='{{.a}}'\"",
            ),
            ("template", "go-templates are not supported here: run "),
            (
                "templatefile=/none/x",
                "go-templates are not supported here: run \"kubectl get sessiontrackers -o go-template-file=/none/x\"",
            ),
            ("jsonpath", "template format specified but no template given"),
            ("jsonpath=", "template format specified but no template given"),
            ("jsonpath-file=", "template format specified but no template given"),
            ("jsonpath={.a", "error parsing jsonpath {.a, unclosed action"),
            ("jsonpath-file=/none/x", "error reading --template /none/x, "),
            ("custom-columns", "custom-columns format specified but no custom columns given"),
            ("custom-columns=", "custom-columns format specified but no custom columns given"),
            (
                "custom-columns=A",
                "unexpected custom-columns spec: A, expected <header>:<json-path-expr>",
            ),
            ("custom-columns=A:", "unexpected path string, expected a 'name1.name2'"),
            ("custom-columns-file=/none/x", "error reading custom-columns-file /none/x, "),
        ];
        for (output, expected) in cases {
            let error = ListFormat::parse(Some(output), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("error: {expected}")), "{output}: {error}");
        }
    }

    #[test]
    fn takes_templates_of_another_flag() {
        let parse = |output, template| ListFormat::parse(output, Some(template)).unwrap();
        let path = parse(Some("jsonpath"), "{.a}");
        assert!(matches!(path, ListFormat::Template(_)));
        // A template in -o overrides --template.
        assert_eq!(parse(Some("jsonpath={.a}"), "{.b}"), path);
        for format in ["json", "yaml", "name", "wide", "table", "custom-columns=A:.a"] {
            let error = ListFormat::parse(Some(format), Some("{.a}")).unwrap_err().to_string();
            let name = format.split('=').next().unwrap();
            assert_eq!(
                error,
                format!(
                    "error: --template option cannot be used with {name} printer: leave out one of them"
                )
            );
            assert!(ListFormat::parse(Some(format), Some("")).is_ok(), "{format}");
        }
        assert_eq!(ListFormat::parse(None, Some("")).unwrap(), ListFormat::Plain);
        let error = ListFormat::parse(None, Some("{{.a}}")).unwrap_err().to_string();
        assert!(error.contains("-o go-template='{{.a}}'"), "{error}");
    }

    #[test]
    fn prints_custom_columns() {
        let object = json!({ "a": { "b": "x\u{1b}" }, "l": [1, 2], "m": { "k": null } });
        let columns = columns("A:.a.b,L:l[*],ALL:{.l},M:.m,NONE:.x").unwrap();
        let cells: Vec<String> =
            columns.iter().map(|column| column.cell(&object).unwrap()).collect();
        assert_eq!(cells, ["x\\x1b", "1,2", "[1 2]", "map[k:<nil>]", "<none>"]);
        let of_file = parse_columns_file("A   L\n.a.b {.l[*]}\n").unwrap();
        assert_eq!(of_file[0].cell(&object).unwrap(), "x\\x1b");
        for (text, expected) in [
            ("", "missing header line"),
            ("A", "missing spec line"),
            ("A B\n.a", "number of headers (2) and field specifications (1) don't match"),
        ] {
            let error = parse_columns_file(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
