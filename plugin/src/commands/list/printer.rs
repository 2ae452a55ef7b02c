//! Output of sessions by `list`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::list::ListArgs,
    error::Error,
    filter::ConcurrentSessions,
    render::{
        columns::Aligner,
        list_format::ListFormat,
        listing::{Columns, bordered, names},
        output,
    },
    server::{EventType, Scope},
    session::Session,
};

/// Prints sessions page by page.
// The flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
pub(in crate::commands) struct Printer {
    format: ListFormat,
    columns: Columns,
    aligner: Aligner,
    /// Whether the column headers are still to be printed.
    header: bool,
    width: Option<usize>,
    /// Whether an object was printed, which the next must be separated from.
    follows: bool,
    /// Whether the kind of each change is printed.
    events: bool,
    /// Whether `metadata.managedFields` is printed.
    managed_fields: bool,
}

impl Printer {
    pub(in crate::commands) fn new(
        format: ListFormat,
        args: &ListArgs,
        scope: &Scope,
        width: Option<usize>,
    ) -> Self {
        let columns = Columns {
            namespace: *scope == Scope::All,
            wide: format == ListFormat::Wide,
            kind: args.show_kind,
            label_columns: args.label_columns.clone(),
            labels: args.show_labels,
            others_unknown: args.select.hides_others(),
        };
        let aligner = Aligner::kubectl_get();
        let before = usize::from(args.output_watch_events);
        let flexible = columns.flexible().into_iter().map(|at| at + before);
        let flexible = flexible.collect();
        Self {
            aligner: match format {
                ListFormat::Columns(_) => aligner,
                _ => aligner.within(width, flexible),
            },
            format,
            columns,
            header: !args.no_headers,
            width,
            follows: false,
            events: args.output_watch_events,
            managed_fields: args.show_managed_fields,
        }
    }

    /// Returns whether the output shows concurrent sessions.
    pub(in crate::commands) fn shows_others(&self) -> bool {
        self.columns.wide && !self.columns.others_unknown
    }

    /// Returns the text of a list or of a part of it. Complete objects are moved, not copied.
    pub(in crate::commands) fn list(
        &mut self,
        items: Vec<Value>,
        now: Timestamp,
    ) -> Result<String, Error> {
        let sessions: Vec<Session> = match self.format {
            ListFormat::Plain | ListFormat::Wide | ListFormat::Table | ListFormat::Name => {
                items.iter().map(Session::from_object).collect()
            }
            _ => Vec::new(),
        };
        match &self.format {
            ListFormat::Plain | ListFormat::Wide => {
                let concurrent = if self.shows_others() {
                    ConcurrentSessions::new(&sessions)
                } else {
                    ConcurrentSessions::default()
                };
                Ok(self.lines(&sessions, &concurrent, None, now))
            }
            ListFormat::Name => Ok(names(&sessions)),
            ListFormat::Table => Ok(bordered(&sessions, now, self.header, self.width)),
            ListFormat::Columns(_) => self.custom(&items, None),
            ListFormat::Object(_) | ListFormat::Template(_) | ListFormat::TemplateAsJson(_) => {
                let items = items.into_iter().map(|item| self.object(item)).collect();
                self.render_object(&output::list(items))
            }
        }
    }

    /// Returns the text of one session that was requested by name: the object without a list.
    pub(in crate::commands) fn single(
        &mut self,
        item: Value,
        now: Timestamp,
    ) -> Result<String, Error> {
        if self.format.is_object() {
            return self.render_object(&self.object(item));
        }
        self.list(vec![item], now)
    }

    /// Returns the text of one changed session. Like kubectl, a watch prints objects without a
    /// list.
    pub(in crate::commands) fn changed(
        &mut self,
        change: EventType,
        item: &Value,
        concurrent: &ConcurrentSessions,
        now: Timestamp,
    ) -> Result<String, Error> {
        let session = || Session::from_object(item);
        let event = self.events.then_some(change.as_str());
        match &self.format {
            ListFormat::Plain | ListFormat::Wide | ListFormat::Table => {
                Ok(self.lines(&[session()], concurrent, event, now))
            }
            ListFormat::Name => Ok(names(&[session()])),
            ListFormat::Columns(_) => self.custom(std::slice::from_ref(item), event),
            ListFormat::Object(_) | ListFormat::Template(_) | ListFormat::TemplateAsJson(_) => {
                let object = self.object(item.clone());
                self.render_object(&match event {
                    Some(event) => json!({ "type": event, "object": object }),
                    None => object,
                })
            }
        }
    }

    /// Returns the object as it is printed.
    fn object(&self, mut item: Value) -> Value {
        if !self.managed_fields {
            output::remove_managed_fields(&mut item);
        }
        item
    }

    fn render_object(&mut self, value: &Value) -> Result<String, Error> {
        let failed = |error: crate::jsonpath::EvalError| Error::setup(error.to_string());
        match &self.format {
            ListFormat::Template(template) => template.text(value).map_err(failed),
            ListFormat::TemplateAsJson(template) => {
                let found = template.find(value).map_err(failed)?;
                let lists = found.into_iter().map(|results| {
                    let list = results.into_iter().map(std::borrow::Cow::into_owned);
                    output::render(&Value::Array(list.collect()), output::Format::Json)
                        .map_err(Error::Output)
                });
                lists.collect()
            }
            ListFormat::Object(format) => {
                let text = output::render(value, *format).map_err(Error::Output)?;
                let follows = std::mem::replace(&mut self.follows, true);
                let between = follows && *format == output::Format::Yaml;
                Ok(if between { format!("---\n{text}") } else { text })
            }
            _ => Ok(String::new()),
        }
    }

    fn custom(&mut self, items: &[Value], event: Option<&str>) -> Result<String, Error> {
        let ListFormat::Columns(columns) = &self.format else {
            return Ok(String::new());
        };
        let mut rows = Vec::new();
        if self.header && !items.is_empty() {
            let mut header = heading(event);
            header.extend(columns.iter().map(|column| column.header.clone()));
            rows.push(header);
            self.header = false;
        }
        for item in items {
            let mut row: Vec<String> = event.into_iter().map(ToOwned::to_owned).collect();
            for column in columns {
                row.push(column.cell(item)?);
            }
            rows.push(row);
        }
        Ok(self.aligner.lines(&rows))
    }

    fn lines(
        &mut self,
        sessions: &[Session],
        concurrent: &ConcurrentSessions,
        event: Option<&str>,
        now: Timestamp,
    ) -> String {
        let mut rows = Vec::new();
        if self.header && !sessions.is_empty() {
            let mut header = heading(event);
            header.extend(self.columns.header());
            rows.push(header);
            self.header = false;
        }
        rows.extend(sessions.iter().map(|session| {
            let mut row: Vec<String> = event.into_iter().map(ToOwned::to_owned).collect();
            row.extend(self.columns.row(session, concurrent, now));
            row
        }));
        self.aligner.lines(&rows)
    }
}

/// Returns the header of the column with the kind of change, if it is shown.
fn heading(event: Option<&str>) -> Vec<String> {
    event.map(|_| "EVENT".to_owned()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};

    fn items() -> Vec<Value> {
        vec![
            json!({
                "apiVersion": "operator.metalbear.co/v1",
                "kind": "Session",
                "metadata": {
                    "name": "487f4f2b6d2376ad", "namespace": "default",
                    "creationTimestamp": "1970-01-01T00:00:00Z",
                },
                "spec": {
                    "target": "deployment/ip-visit-counter",
                    "user": "Avi/avi@x.co@avis-macbook",
                    "client": { "version": "3.250.0" },
                },
                "status": {
                    "state": "running",
                    "ports": [
                        { "port": 80, "type": "steal", "filter": "header=a" },
                        { "port": 81, "type": "mirror" },
                    ],
                    "agent": { "kind": "Job", "namespace": "m", "name": "mirrord-agent-a", "uid": "u", "node": "n1" },
                },
            }),
            json!({
                "metadata": { "name": "someone-elses", "namespace": "shop" },
                "spec": { "user": "a\u{1b}[2Jb", "target": ["x"] },
            }),
        ]
    }

    fn print(scope: &Scope, format: &str) -> String {
        let line = ["plugin", "list", "-o", format];
        let cli = Cli::parse_from_args(line.map(Into::into)).unwrap();
        let Command::List(args) = cli.command else {
            panic!("{line:?}");
        };
        let format = ListFormat::parse(args.output.as_deref(), None).unwrap();
        let now = Timestamp::from_second(63).unwrap();
        let mut printer = Printer::new(format, &args, scope, None);
        printer.list(items(), now).unwrap()
    }

    #[test]
    fn prints_columns_of_one_namespace() {
        let scope = Scope::Namespace("default".into());
        assert_eq!(
            print(&scope, ""),
            "SESSION ID         TARGET                        USER                        PORTS                                                             SESSION DURATION\n\
             487F4F2B6D2376AD   deployment/ip-visit-counter   Avi/avi@x.co@avis-macbook   Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror   63s\n\
             someone-elses      [\"x\"]                         a\\x1b[2Jb                   <none>                                                            <unknown>\n"
        );
    }

    #[test]
    fn prints_wide_columns_of_all_namespaces() {
        let text = print(&Scope::All, "wide");
        let mut lines = text.lines();
        let words = |line: Option<&str>| {
            line.unwrap()
                .split("   ")
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(lines.next()),
            [
                "SESSION ID",
                "TARGET",
                "NAMESPACE",
                "USER",
                "PORTS",
                "SESSION DURATION",
                "STATE",
                "KIND",
                "VERSION",
                "AGENT",
                "NODE",
                "OTHERS ON TARGET"
            ]
        );
        assert_eq!(
            words(lines.next()),
            [
                "487F4F2B6D2376AD",
                "deployment/ip-visit-counter",
                "default",
                "Avi/avi@x.co@avis-macbook",
                "Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror",
                "63s",
                "running",
                "job",
                "3.250.0",
                "mirrord-agent-a",
                "n1",
                "<none>"
            ]
        );
        assert_eq!(words(lines.next())[6..], ["<none>"; 6]);
    }

    #[test]
    fn prints_the_bordered_table_of_mirrord() {
        assert_eq!(
            print(&Scope::All, "table"),
            "\
+------------------+-----------------------------+-----------+---------------------------+-----------------------------------------+------------------+
| Session ID       | Target                      | Namespace | User                      | Ports                                   | Session Duration |
+------------------+-----------------------------+-----------+---------------------------+-----------------------------------------+------------------+
| 487F4F2B6D2376AD | deployment/ip-visit-counter | default   | Avi/avi@x.co@avis-macbook | Port: 80, Type: steal, Filter: header=a | 1m 3s            |
|                  |                             |           |                           | Port: 81, Type: mirror                  |                  |
+------------------+-----------------------------+-----------+---------------------------+-----------------------------------------+------------------+
| someone-elses    | [\"x\"]                       | shop      | a\\x1b[2Jb                 |                                         | <unknown>        |
+------------------+-----------------------------+-----------+---------------------------+-----------------------------------------+------------------+
"
        );
    }

    #[test]
    fn prints_names_and_complete_objects() {
        let scope = Scope::Namespace("default".into());
        assert_eq!(
            print(&scope, "name"),
            "session.operator.metalbear.co/487f4f2b6d2376ad\nsession.operator.metalbear.co/someone-elses\n"
        );
        let json: Value = serde_json::from_str(&print(&scope, "json")).unwrap();
        let yaml: Value = serde_saphyr::from_str(&print(&scope, "yaml")).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items(),
        });
        assert_eq!(json, expected);
        assert_eq!(yaml, expected);
    }
}
