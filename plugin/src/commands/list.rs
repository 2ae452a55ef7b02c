//! `list`.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    choose::{choose, source},
    nothing_found, scope, watch,
};
use crate::{
    cli::list::ListArgs,
    console::Console,
    error::Error,
    filter::{Crowd, Filter},
    render::{
        columns::Aligner,
        listing::{Columns, bordered, names},
        output,
        shape::Shape,
        sort::SortBy,
    },
    server::{Listing, Scope, Server, Source},
    session::Session,
};

/// What the command line says, read.
pub(super) struct Plan {
    pub(super) shape: Shape,
    sort: Option<SortBy>,
}

impl Plan {
    pub(super) fn of(args: &ListArgs) -> Result<Self, Error> {
        let shape = Shape::of(args.output.as_deref())?;
        let path = args.sort_by.as_deref().filter(|path| !path.is_empty());
        let sort = path.map(SortBy::parse).transpose()?;
        if args.watches() && shape == Shape::Table {
            return Err(Error::setup(
                "a bordered table can't be watched: leave out -o table or --watch",
            ));
        }
        Ok(Self { shape, sort })
    }
}

pub(super) async fn run(
    server: &Server,
    args: &ListArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let plan = Plan::of(args)?;
    let scope = scope(server, args.everywhere);
    let source = source(server, console).await?;
    if args.watches() && source == Source::Operator {
        return Err(Error::setup(
            "the sessions of mirrord's operator can't be watched: list them again",
        ));
    }
    let (listing, filter) = choose(server, scope, &args.select, args.all_states).await?;
    let listing = Listing {
        chunk: args.chunk_size,
        ..listing
    };
    let mut printer = Printer::new(plan.shape.clone(), args, &listing.scope, console.width());
    if args.watches() {
        return watch::run(server, &listing, &filter, args.watch_only, printer, console).await;
    }
    // What is sorted can't be shown before the last page is there.
    let streams = plan.shape.streams() && plan.sort.is_none();
    let mut pages = server.listing(&listing).await?;
    let mut all = Vec::new();
    let mut shown = 0;
    while let Some(page) = pages.next().await? {
        let page = kept(page, &filter);
        shown += page.len();
        if streams {
            console.print(&printer.list(&page, now)?)?;
            if console.is_closed() {
                return Ok(());
            }
        } else {
            all.extend(page);
        }
    }
    if shown == 0 && !plan.shape.is_whole() {
        console.say(&nothing_found(&listing.scope));
    } else if !streams {
        if let Some(sort) = &plan.sort {
            sort.sort(&mut all)?;
        }
        console.print(&printer.list(&all, now)?)?;
    }
    Ok(())
}

/// What the filter leaves of a page.
pub(super) fn kept(mut page: Vec<Value>, filter: &Filter) -> Vec<Value> {
    page.retain(|item| filter.shows(&Session::of_object(item)));
    page
}

/// Shows sessions, piece by piece.
pub(super) struct Printer {
    shape: Shape,
    columns: Columns,
    aligner: Aligner,
    /// Whether the names of the columns are still to be printed.
    header: bool,
    width: Option<usize>,
    /// Whether an object was printed that another one must be kept apart from.
    follows: bool,
}

impl Printer {
    pub(super) fn new(shape: Shape, args: &ListArgs, scope: &Scope, width: Option<usize>) -> Self {
        let columns = Columns {
            namespace: *scope == Scope::All,
            wide: shape == Shape::Wide,
            kind: args.show_kind,
            labels: args.show_labels,
            others_unknown: args.select.hides_others(),
        };
        let aligner = Aligner::kubectl_get();
        Self {
            aligner: match shape {
                Shape::Columns(_) => aligner,
                _ => aligner.within(width, columns.flexible()),
            },
            shape,
            columns,
            header: !args.no_headers,
            width,
            follows: false,
        }
    }

    /// Whether it shows who else is on a session's target.
    pub(super) fn shows_others(&self) -> bool {
        self.columns.wide && !self.columns.others_unknown
    }

    /// A list, or a part of it.
    pub(super) fn list(&mut self, items: &[Value], now: Timestamp) -> Result<String, Error> {
        let sessions: Vec<Session> = match self.shape {
            Shape::Plain | Shape::Wide | Shape::Table | Shape::Name => {
                items.iter().map(Session::of_object).collect()
            }
            _ => Vec::new(),
        };
        match &self.shape {
            Shape::Plain | Shape::Wide => {
                let crowd = if self.shows_others() {
                    Crowd::of(&sessions)
                } else {
                    Crowd::default()
                };
                Ok(self.lines(&sessions, &crowd, now))
            }
            Shape::Name => Ok(names(&sessions)),
            Shape::Table => Ok(bordered(&sessions, now, self.header, self.width)),
            Shape::Columns(_) => self.custom(items),
            Shape::Whole(_) | Shape::Template(_) | Shape::TemplateAsJson(_) => {
                self.whole(&output::list(items.to_vec()))
            }
        }
    }

    /// One session, as kubectl shows it where it watches: objects follow each other, without a list
    /// around them.
    pub(super) fn one(
        &mut self,
        item: &Value,
        crowd: &Crowd,
        now: Timestamp,
    ) -> Result<String, Error> {
        let session = || Session::of_object(item);
        match &self.shape {
            Shape::Plain | Shape::Wide | Shape::Table => Ok(self.lines(&[session()], crowd, now)),
            Shape::Name => Ok(names(&[session()])),
            Shape::Columns(_) => self.custom(std::slice::from_ref(item)),
            Shape::Whole(_) | Shape::Template(_) | Shape::TemplateAsJson(_) => {
                let mut item = item.clone();
                output::without_bookkeeping(&mut item);
                self.whole(&item)
            }
        }
    }

    fn whole(&mut self, value: &Value) -> Result<String, Error> {
        let failed = |error: crate::jsonpath::EvalError| Error::setup(error.to_string());
        match &self.shape {
            Shape::Template(template) => template.text(value).map_err(failed),
            Shape::TemplateAsJson(template) => {
                let found = template.find(value).map_err(failed)?;
                let lists = found.into_iter().map(|results| {
                    let list = results.into_iter().map(std::borrow::Cow::into_owned);
                    output::render(&Value::Array(list.collect()), output::Format::Json)
                        .map_err(Error::Output)
                });
                lists.collect()
            }
            Shape::Whole(format) => {
                let text = output::render(value, *format).map_err(Error::Output)?;
                let follows = std::mem::replace(&mut self.follows, true);
                let between = follows && *format == output::Format::Yaml;
                Ok(if between {
                    format!("---\n{text}")
                } else {
                    text
                })
            }
            _ => Ok(String::new()),
        }
    }

    fn custom(&mut self, items: &[Value]) -> Result<String, Error> {
        let Shape::Columns(columns) = &self.shape else {
            return Ok(String::new());
        };
        let mut rows = Vec::new();
        if self.header && !items.is_empty() {
            rows.push(columns.iter().map(|column| column.header.clone()).collect());
            self.header = false;
        }
        for item in items {
            let cells = columns.iter().map(|column| column.cell(item));
            rows.push(cells.collect::<Result<Vec<String>, Error>>()?);
        }
        Ok(self.aligner.lines(&rows))
    }

    fn lines(&mut self, sessions: &[Session], crowd: &Crowd, now: Timestamp) -> String {
        let mut rows = Vec::new();
        if self.header && !sessions.is_empty() {
            rows.push(self.columns.header());
            self.header = false;
        }
        let row = |session| self.columns.row(session, crowd, now);
        rows.extend(sessions.iter().map(row));
        self.aligner.lines(&rows)
    }
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

    fn shown(scope: &Scope, format: &str) -> String {
        let line = ["plugin", "list", "-o", format];
        let cli = Cli::of(line.map(Into::into)).unwrap();
        let Command::List(args) = cli.command else {
            panic!("{line:?}");
        };
        let shape = Shape::of(args.output.as_deref()).unwrap();
        let now = Timestamp::from_second(63).unwrap();
        let mut printer = Printer::new(shape, &args, scope, None);
        printer.list(&items(), now).unwrap()
    }

    #[test]
    fn columns_of_one_namespace() {
        let scope = Scope::Namespace("default".into());
        assert_eq!(
            shown(&scope, ""),
            "SESSION ID         TARGET                        USER                        PORTS                                                             SESSION DURATION\n\
             487F4F2B6D2376AD   deployment/ip-visit-counter   Avi/avi@x.co@avis-macbook   Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror   63s\n\
             someone-elses      [\"x\"]                         a\\x1b[2Jb                   <none>                                                            <unknown>\n"
        );
    }

    #[test]
    fn columns_of_all_namespaces_and_wide() {
        let text = shown(&Scope::All, "wide");
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
    fn bordered_as_mirrords() {
        assert_eq!(
            shown(&Scope::All, "table"),
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
    fn names_and_whole_objects() {
        let scope = Scope::Namespace("default".into());
        assert_eq!(
            shown(&scope, "name"),
            "session.operator.metalbear.co/487f4f2b6d2376ad\nsession.operator.metalbear.co/someone-elses\n"
        );
        let json: Value = serde_json::from_str(&shown(&scope, "json")).unwrap();
        let yaml: Value = serde_saphyr::from_str(&shown(&scope, "yaml")).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items(),
        });
        assert_eq!(json, expected);
        assert_eq!(yaml, expected);
    }
}
