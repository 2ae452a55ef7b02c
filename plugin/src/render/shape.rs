//! How a list is shown: what `-o` takes.

use std::{fs::File, io::Read};

use serde_json::Value;

use super::{go_template::GoTemplate, output::Format};
use crate::{
    error::Error,
    jsonpath::{Template, go_text},
};

/// How a list is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// In columns.
    Plain,
    /// In columns, and more of them.
    Wide,
    /// As a bordered table.
    Table,
    /// By the names.
    Name,
    /// As objects.
    Whole(Format),
    /// As a template says.
    Template(Template),
    /// As one of Go's templates says.
    GoTemplate(GoTemplate),
    /// As JSON lists of what a template finds.
    TemplateAsJson(Template),
    /// In columns of one's own.
    Columns(Vec<CustomColumn>),
}

/// A column of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomColumn {
    /// What stands above it.
    pub header: String,
    /// What stands in it.
    pub path: Template,
}

/// kubectl's list of them, with what is added here and without what isn't there.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,table,template,templatefile,wide,yaml";

/// The largest template that is read from a file.
const LARGEST: u64 = 1 << 20;

impl Shape {
    /// What `-o` says, and `--template`, whose value `-o` may go without.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn of(output: Option<&str>, given: Option<&str>) -> Result<Self, Error> {
        let given = given.filter(|template| !template.is_empty());
        let output = match (output.unwrap_or_default(), given) {
            ("", Some(_)) => "go-template",
            (output, _) => output,
        };
        let (name, argument) = match output.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (output, None),
        };
        let source = argument.filter(|source| !source.is_empty()).or(given);
        let template = || {
            let source = source.ok_or_else(no_template)?;
            Template::parse(source).map_err(|error| Error::setup(error.to_string()))
        };
        Ok(match (name, argument) {
            ("", None) => Self::Plain,
            ("wide", None) => Self::Wide,
            ("table", None) => Self::Table,
            ("name", None) => Self::Name,
            ("json", None) => Self::Whole(Format::Json),
            ("yaml", None) => Self::Whole(Format::Yaml),
            ("jsonpath", _) => Self::Template(template()?),
            ("jsonpath-as-json", _) => Self::TemplateAsJson(template()?),
            ("jsonpath-file", _) => {
                let source = read("--template", source)?;
                let template = Template::parse(&source);
                Self::Template(template.map_err(|error| Error::setup(error.to_string()))?)
            }
            ("go-template" | "template", _) => {
                Self::GoTemplate(GoTemplate::parse(source.ok_or_else(no_template)?)?)
            }
            ("go-template-file" | "templatefile", _) => {
                Self::GoTemplate(GoTemplate::parse(&read("--template", source)?)?)
            }
            ("custom-columns", _) => Self::Columns(columns(argument.unwrap_or_default())?),
            ("custom-columns-file", _) => {
                Self::Columns(columns_of_file(&read("custom-columns-file", argument)?)?)
            }
            _ => {
                return Err(Error::setup(format!(
                    "unable to match a printer suitable for the output format \"{output}\", allowed formats are: {FORMATS}"
                )));
            }
        })
    }

    /// The same, where a field that a JSONPath names must be there.
    #[must_use]
    pub fn strict(self) -> Self {
        match self {
            Self::Template(template) => Self::Template(template.strict()),
            Self::TemplateAsJson(template) => Self::TemplateAsJson(template.strict()),
            other => other,
        }
    }

    /// Whether each page can be shown when it is there: nothing in it depends on the others.
    #[must_use]
    pub fn streams(&self) -> bool {
        matches!(self, Self::Plain | Self::Name | Self::Columns(_))
    }

    /// Whether it shows a list as one thing, also an empty one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(
            self,
            Self::Whole(_) | Self::Template(_) | Self::TemplateAsJson(_) | Self::GoTemplate(_)
        )
    }
}

fn no_template() -> Error {
    Error::setup("template format specified but no template given")
}

fn read(what: &str, path: Option<&str>) -> Result<String, Error> {
    let path = path.filter(|path| !path.is_empty()).ok_or_else(no_template)?;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST).read_to_string(&mut text))
        .map_err(|error| Error::setup(format!("error reading {what} {path}, {error}")))?;
    Ok(text)
}

fn column(header: &str, path: &str) -> Result<CustomColumn, Error> {
    Ok(CustomColumn {
        header: header.to_owned(),
        path: Template::relaxed(path).map_err(Error::setup)?,
    })
}

/// `NAME:.metadata.name,TARGET:.spec.target`.
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

/// A line of headers, and a line of paths.
fn columns_of_file(text: &str) -> Result<Vec<CustomColumn>, Error> {
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
    /// What stands in it for an object.
    ///
    /// # Errors
    /// In kubectl's words, if the path can't be applied.
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
    fn what_is_wrong_in_kubectls_words() {
        let cases = [
            (
                "nope",
                "unable to match a printer suitable for the output format \"nope\", allowed formats are: custom-columns,",
            ),
            ("json=x", "unable to match a printer suitable for the output format \"json=x\""),
            ("kyaml", "unable to match a printer"),
            ("go-template={{.a", "error parsing template {{.a, "),
            ("go-template", "template format specified but no template given"),
            ("templatefile=/none/x", "error reading --template /none/x, "),
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
            let error = Shape::of(Some(output), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("error: {expected}")), "{output}: {error}");
        }
    }

    #[test]
    fn templates_of_another_flag() {
        let of = |output, template| Shape::of(output, Some(template)).unwrap();
        let go = of(None, "{{.a}}");
        assert!(matches!(go, Shape::GoTemplate(_)));
        assert_eq!(of(Some("template"), "{{.a}}"), go);
        // What -o says itself goes first.
        assert_eq!(of(Some("go-template={{.a}}"), "{{.b}}"), go);
        let path = of(Some("jsonpath"), "{.a}");
        assert!(matches!(path, Shape::Template(_)));
        assert_eq!(of(Some("json"), "{.a}"), Shape::Whole(Format::Json));
        assert_eq!(Shape::of(None, Some("")).unwrap(), Shape::Plain);
    }

    #[test]
    fn columns_of_ones_own() {
        let object = json!({ "a": { "b": "x\u{1b}" }, "l": [1, 2], "m": { "k": null } });
        let columns = columns("A:.a.b,L:l[*],ALL:{.l},M:.m,NONE:.x").unwrap();
        let cells: Vec<String> =
            columns.iter().map(|column| column.cell(&object).unwrap()).collect();
        assert_eq!(cells, ["x\\x1b", "1,2", "[1 2]", "map[k:<nil>]", "<none>"]);
        let of_file = columns_of_file("A   L\n.a.b {.l[*]}\n").unwrap();
        assert_eq!(of_file[0].cell(&object).unwrap(), "x\\x1b");
        for (text, expected) in [
            ("", "missing header line"),
            ("A", "missing spec line"),
            ("A B\n.a", "number of headers (2) and field specifications (1) don't match"),
        ] {
            let error = columns_of_file(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
