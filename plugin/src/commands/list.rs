//! `list`.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    choose::{choose, source},
    nothing_found, scope,
};
use crate::{
    cli::list::ListArgs,
    console::Console,
    error::Error,
    filter::{Crowd, Filter},
    render::{
        columns::Aligner,
        listing::{Columns, bordered, names},
        output::{self, Format},
    },
    server::{Listing, Scope, Server},
    session::Session,
};

/// How a list is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Plain,
    Wide,
    Table,
    Name,
    Whole(Format),
}

/// What kubectl says formats may be.
const FORMATS: &str = "json,name,table,wide,yaml";

impl Shape {
    pub(crate) fn of(output: Option<&str>) -> Result<Self, Error> {
        Ok(match output {
            None | Some("") => Self::Plain,
            Some("wide") => Self::Wide,
            Some("table") => Self::Table,
            Some("name") => Self::Name,
            Some("json") => Self::Whole(Format::Json),
            Some("yaml") => Self::Whole(Format::Yaml),
            Some(other) => {
                return Err(Error::setup(format!(
                    "unable to match a printer suitable for the output format \"{other}\", allowed formats are: {FORMATS}"
                )));
            }
        })
    }

    /// Whether each page can be shown when it is there: nothing in it depends on the others.
    fn streams(self) -> bool {
        matches!(self, Self::Plain | Self::Name)
    }
}

pub(super) async fn run(
    server: &Server,
    args: &ListArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let shape = Shape::of(args.output.as_deref())?;
    let scope = scope(server, args.everywhere);
    source(server, console).await?;
    let (listing, filter) = choose(server, scope, &args.select, args.all_states).await?;
    let listing = Listing {
        chunk: args.chunk_size,
        ..listing
    };
    let mut printer = Printer::new(shape, args, &listing.scope, now, console.width());
    let mut pages = server.listing(&listing).await?;
    let mut all = Vec::new();
    let mut shown = 0;
    while let Some(page) = pages.next().await? {
        let page = kept(page, &filter);
        shown += page.len();
        if shape.streams() {
            console.print(&printer.print(&page)?)?;
            if console.is_closed() {
                return Ok(());
            }
        } else {
            all.extend(page);
        }
    }
    if shown == 0 && !matches!(shape, Shape::Whole(_)) {
        console.say(&nothing_found(&listing.scope));
    } else if !shape.streams() {
        console.print(&printer.print(&all)?)?;
    }
    Ok(())
}

/// What the filter leaves of a page.
fn kept(mut page: Vec<Value>, filter: &Filter) -> Vec<Value> {
    page.retain(|item| filter.shows(&Session::of_object(item)));
    page
}

/// Shows sessions, piece by piece.
struct Printer {
    shape: Shape,
    columns: Columns,
    aligner: Aligner,
    /// Whether the names of the columns are still to be printed.
    header: bool,
    now: Timestamp,
    width: Option<usize>,
}

impl Printer {
    fn new(
        shape: Shape,
        args: &ListArgs,
        scope: &Scope,
        now: Timestamp,
        width: Option<usize>,
    ) -> Self {
        let columns = Columns {
            namespace: *scope == Scope::All,
            wide: shape == Shape::Wide,
            kind: args.show_kind,
            labels: args.show_labels,
        };
        Self {
            shape,
            columns,
            aligner: Aligner::kubectl_get().within(width, columns.flexible()),
            header: !args.no_headers,
            now,
            width,
        }
    }

    fn print(&mut self, items: &[Value]) -> Result<String, Error> {
        let sessions = || items.iter().map(Session::of_object).collect::<Vec<_>>();
        Ok(match self.shape {
            Shape::Whole(format) => {
                output::render(&output::list(items.to_vec()), format).map_err(Error::Output)?
            }
            Shape::Name => names(&sessions()),
            Shape::Table => bordered(&sessions(), self.now, self.header, self.width),
            Shape::Plain | Shape::Wide => self.lines(&sessions()),
        })
    }

    fn lines(&mut self, sessions: &[Session]) -> String {
        let mut rows = Vec::new();
        if self.header && !sessions.is_empty() {
            rows.push(self.columns.header());
            self.header = false;
        }
        let crowd = Crowd::of(sessions);
        let row = |session| self.columns.row(session, &crowd, self.now);
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
        let mut printer = Printer::new(shape, &args, scope, now, None);
        printer.print(&items()).unwrap()
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
