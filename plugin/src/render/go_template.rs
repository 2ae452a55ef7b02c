//! Go's templates, as `kubectl get -o go-template` renders them.

mod depth;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gtmpl_ng::{Context, FuncError, Limits, Template, Value as GoValue};
use serde_json::Value;

use super::escape::visible;
use crate::error::Error;

/// kubectl's own name of a template, which errors tell.
const NAME: &str = "output";
/// Several times what is needed at most.
const STACK: usize = 64 << 20;

/// A template that has been read.
// It is parsed again where it is rendered, which is once a list: what the crate keeps can neither
// be compared nor copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GoTemplate(String);

impl GoTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// In kubectl's words.
    pub fn parse(source: &str) -> Result<Self, Error> {
        on_own_stack(|| parsed(source).map(drop))?;
        Ok(Self(source.to_owned()))
    }

    /// The text that it makes of an object. What a terminal acts on is spelled out, but for that in
    /// the template itself.
    ///
    /// # Errors
    /// In kubectl's words, if it can't be applied.
    pub fn text(&self, object: &Value) -> Result<String, Error> {
        on_own_stack(|| {
            let rendered = parsed(&self.0)?.render(&Context::from(value(object)));
            rendered.map_err(|error| {
                // Its causes are on lines of their own.
                let error = error.to_string().replace("\n  caused by: ", ": ");
                Error::setup(format!("error executing template {:?}: {error}", self.0))
            })
        })
    }
}

/// Runs it where what nests as deep as it may has room: the stack of a process is small in places,
/// and one that is exhausted ends the process.
fn on_own_stack<T: Send>(run: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let running = thread
            .spawn_scoped(scope, run)
            .map_err(|error| Error::setup(format!("cannot read the template: {error}")))?;
        running
            .join()
            .unwrap_or_else(|_| Err(Error::setup("the template can't be rendered: simplify it")))
    })
}

fn parsed(source: &str) -> Result<Template, Error> {
    let wrong = |why: String| Error::setup(format!("error parsing template {source}, {why}"));
    if let Some(line) = depth::too_deep(source) {
        return Err(wrong(format!("template: {NAME}:{line}: max expression depth exceeded")));
    }
    // The template is the user's own, and lists are as long as they are.
    let limits = Limits::default()
        .with_iterations(None)
        .with_total_iterations(None)
        .with_output_bytes(None)
        .with_function_output(None);
    let mut template = Template::with_limits(limits);
    NAME.clone_into(&mut template.name);
    template.add_func("exists", exists);
    template.add_func("base64decode", base64decode);
    template.parse(source).map_err(|error| wrong(error.to_string()))?;
    Ok(template)
}

/// Strings and names as a terminal may see them.
fn value(value: &Value) -> GoValue {
    match value {
        Value::Null => GoValue::Nil,
        Value::Bool(is) => (*is).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => visible(text).into_owned().into(),
        Value::Array(items) => GoValue::Array(items.iter().map(self::value).collect()),
        Value::Object(map) => {
            let pair =
                |(name, value): (&String, &Value)| (visible(name).into_owned(), self::value(value));
            GoValue::Map(map.iter().map(pair).collect())
        }
    }
}

/// kubectl's `exists`: whether `index` could be called with these arguments and would find
/// something.
fn exists(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let Some((item, indices)) = arguments.split_first() else {
        return Err(FuncError::AtLeastXArgs("exists".to_owned(), 1));
    };
    let mut item = Some(item);
    for index in indices {
        item = match (item, index) {
            (Some(GoValue::Map(map)), GoValue::String(name)) => map.get(name),
            (Some(GoValue::Array(items)), GoValue::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| items.get(at))
            }
            _ => None,
        };
    }
    let is_there = item.is_some_and(|item| !matches!(item, GoValue::Nil | GoValue::NoValue));
    Ok(is_there.into())
}

/// kubectl's `base64decode`.
fn base64decode(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(text)] = arguments else {
        return Err(FuncError::ExactlyXArgs("base64decode".to_owned(), 1));
    };
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| FuncError::Generic(format!("base64 decode failed: {error}")))?;
    Ok(visible(&String::from_utf8_lossy(&bytes)).into_owned().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Value {
        json!({
            "apiVersion": "v1", "kind": "List",
            "items": [
                {
                    "metadata": { "name": "a", "labels": { "b": "Ynl0ZXM=" } },
                    "spec": { "user": "x\u{1b}[2J", "ports": [80, 81] },
                },
                { "metadata": { "name": "b" }, "spec": { "load": 0.5, "none": null } },
            ],
        })
    }

    #[test]
    fn what_kubectl_renders() {
        for (source, expected) in [
            (r#"{{range .items}}{{.metadata.name}}{{"\n"}}{{end}}"#, "a\nb\n"),
            ("{{len .items}} {{(index .items 0).spec.ports}}", "2 [80 81]"),
            ("{{range .items}}{{.spec.user}},{{end}}", "x\\x1b[2J,<no value>,"),
            (
                r#"{{range .items}}{{if exists . "metadata" "labels" "b"}}{{.metadata.labels.b | base64decode}}{{else}}-{{end}}{{end}}"#,
                "bytes-",
            ),
            (
                r#"{{$n := 0}}{{range $i, $e := .items}}{{if eq $e.metadata.name "b"}}{{$i}}{{end}}{{end}}"#,
                "1",
            ),
            (
                r#"{{range .items}}{{with .metadata.labels}}{{range $k, $v := .}}{{printf "%s=%q" $k $v}}{{end}}{{end}}{{end}}"#,
                r#"b="Ynl0ZXM=""#,
            ),
            ("{{(index .items 1).spec}}", "map[load:0.5 none:<nil>]"),
            ("\u{1b}[1m{{.kind}}", "\u{1b}[1mList"),
            (r#"{{exists . "items" 5}}{{exists . "items" 1}}"#, "falsetrue"),
        ] {
            let template = GoTemplate::parse(source).unwrap();
            assert_eq!(template.text(&list()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn lists_of_any_length() {
        let items: Vec<u32> = (0..20_000).collect();
        let template = GoTemplate::parse("{{range .items}}x{{end}}").unwrap();
        let text = template.text(&json!({ "items": items })).unwrap();
        assert_eq!(text.len(), 20_000);
        // What a function answers is weighed too.
        let list = json!({ "items": vec!["x".repeat(100); 20_000] });
        for source in [
            r#"{{range index . "items"}}x{{end}}"#,
            "{{range .items | slice}}x{{end}}",
            "{{with (index .items 0)}}{{range $.items}}x{{end}}{{end}}",
        ] {
            let template = GoTemplate::parse(source).unwrap();
            assert_eq!(template.text(&list).unwrap().len(), 20_000, "{source}");
        }
        let template = GoTemplate::parse(r#"{{printf "%v" .items}}"#).unwrap();
        assert!(template.text(&list).unwrap().len() > 2_000_000);
    }

    #[test]
    fn what_nests_as_deep_as_it_may() {
        let parentheses = format!("{}1{}", "(".repeat(100), ")".repeat(100));
        let chain = "{{else if .nope}}".repeat(90);
        let blocks =
            format!("{}{{{{{parentheses}}}}}{}", "{{if 1}}".repeat(60), "{{end}}".repeat(60));
        for (source, expected) in [
            (format!("{{{{{parentheses}}}}}"), "1"),
            (blocks, "1"),
            (format!("{{{{if .nope}}}}{chain}{{{{else}}}}{{{{{parentheses}}}}}{{{{end}}}}"), "1"),
        ] {
            let template = GoTemplate::parse(&source).unwrap();
            assert_eq!(template.text(&list()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for source in ["{{.a", "{{end}}", "{{nope .}}"] {
            let error = GoTemplate::parse(source).unwrap_err().to_string();
            let expected = format!("error: error parsing template {source}, ");
            assert!(error.starts_with(&expected), "{error}");
        }
        // These would end the process otherwise, and no error could be told.
        let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(600), ")".repeat(600));
        let chain = format!("{{{{if 1}}}}{}{{{{end}}}}", "{{else if 1}}".repeat(1_000));
        for source in [parentheses, format!("\n{chain}")] {
            let error = GoTemplate::parse(&source).unwrap_err().to_string();
            let line = source.lines().count();
            let expected = format!(
                "error: error parsing template {source}, template: output:{line}: max expression depth exceeded"
            );
            assert_eq!(error, expected);
        }
        for source in ["{{index .items 7}}", r#"{{base64decode "*"}}"#, "{{.items.x}}"] {
            let template = GoTemplate::parse(source).unwrap();
            let error = template.text(&list()).unwrap_err().to_string();
            assert!(
                error.starts_with("error: error executing template ") && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
