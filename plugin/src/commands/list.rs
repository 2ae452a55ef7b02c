//! `list`.

use jiff::Timestamp;
use serde_json::Value;

use super::{nothing_found, scope};
use crate::{
    cli::list::{ListArgs, ListFormat},
    console::Console,
    error::Error,
    render::{
        columns,
        duration::{age, exact_age},
        escape::visible,
        output::{self, Format},
        table,
    },
    server::{Scope, Server},
    session::{Session, kind_name},
};

/// What stands for a value that isn't there, in columns that scripts take apart too.
const NONE: &str = "<none>";

pub(super) async fn run(
    server: &Server,
    args: &ListArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.everywhere);
    let items = server.sessions(&scope, None).await?;
    let is_whole = matches!(args.output, Some(ListFormat::Json | ListFormat::Yaml));
    if items.is_empty() && !is_whole {
        console.say(&nothing_found(&scope));
        return Ok(());
    }
    console.print(&render(items, &scope, args.output, now)?)
}

fn render(
    items: Vec<Value>,
    scope: &Scope,
    format: Option<ListFormat>,
    now: Timestamp,
) -> Result<String, Error> {
    let whole = |items, format| output::render(&output::list(items), format).map_err(Error::Output);
    let sessions = || items.iter().map(Session::of_object).collect::<Vec<_>>();
    Ok(match format {
        Some(ListFormat::Json) => whole(items, Format::Json)?,
        Some(ListFormat::Yaml) => whole(items, Format::Yaml)?,
        Some(ListFormat::Name) => names(&sessions()),
        Some(ListFormat::Table) => bordered(&sessions(), now),
        Some(ListFormat::Wide) => plain(&sessions(), scope, true, now),
        None => plain(&sessions(), scope, false, now),
    })
}

fn names(sessions: &[Session]) -> String {
    let line = |session: &Session| format!("{}/{}\n", kind_name(), visible(&session.name));
    sessions.iter().map(line).collect()
}

/// Plain columns, aligned as kubectl aligns its own.
pub(super) fn plain(sessions: &[Session], scope: &Scope, wide: bool, now: Timestamp) -> String {
    let mut header = vec!["SESSION ID", "TARGET"];
    if *scope == Scope::All {
        header.push("NAMESPACE");
    }
    header.extend(["USER", "PORTS", "SESSION DURATION"]);
    if wide {
        header.extend(["STATE", "VERSION", "AGENT", "NODE"]);
    }
    let mut rows = vec![header.into_iter().map(ToOwned::to_owned).collect()];
    rows.extend(
        sessions
            .iter()
            .map(|session| row(session, scope, wide, now)),
    );
    columns::kubectl_get(&rows)
}

fn row(session: &Session, scope: &Scope, wide: bool, now: Timestamp) -> Vec<String> {
    let cell = |value: Option<&str>| visible(value.unwrap_or(NONE)).into_owned();
    let mut row = vec![
        cell(Some(&session.id().to_string())),
        cell(session.target.as_deref()),
    ];
    if *scope == Scope::All {
        row.push(cell(Some(&session.namespace)));
    }
    row.extend([
        cell(session.user.as_deref()),
        cell(session.port_line().as_deref()),
        age(session.started, now),
    ]);
    if wide {
        let agent = session.agent.as_ref();
        row.extend([
            cell(session.state.as_deref()),
            cell(session.version.as_deref()),
            cell(agent.and_then(|agent| agent.name.as_deref())),
            cell(agent.and_then(|agent| agent.node.as_deref())),
        ]);
    }
    row
}

fn bordered(sessions: &[Session], now: Timestamp) -> String {
    let header = [
        "Session ID",
        "Target",
        "Namespace",
        "User",
        "Ports",
        "Session Duration",
    ];
    let rows = sessions.iter().map(|session| {
        let cell = |value: Option<&str>| visible(value.unwrap_or_default()).into_owned();
        let ports: Vec<String> = match &session.port_summary {
            Some(summary) if session.ports.is_empty() => vec![cell(Some(summary))],
            _ => session.ports.iter().map(|port| cell(Some(port))).collect(),
        };
        [
            cell(Some(&session.id().to_string())),
            cell(session.target.as_deref()),
            cell(Some(&session.namespace)),
            cell(session.user.as_deref()),
            ports.join("\n"),
            exact_age(session.started, now),
        ]
    });
    table::bordered(header, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    fn shown(scope: &Scope, format: Option<ListFormat>) -> String {
        render(items(), scope, format, Timestamp::from_second(63).unwrap()).unwrap()
    }

    #[test]
    fn columns_of_one_namespace() {
        let scope = Scope::Namespace("default".into());
        assert_eq!(
            shown(&scope, None),
            "SESSION ID         TARGET                        USER                        PORTS                                                             SESSION DURATION\n\
             487F4F2B6D2376AD   deployment/ip-visit-counter   Avi/avi@x.co@avis-macbook   Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror   63s\n\
             someone-elses      [\"x\"]                         a\\x1b[2Jb                   <none>                                                            <unknown>\n"
        );
    }

    #[test]
    fn columns_of_all_namespaces_and_wide() {
        let text = shown(&Scope::All, Some(ListFormat::Wide));
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
                "VERSION",
                "AGENT",
                "NODE"
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
                "3.250.0",
                "mirrord-agent-a",
                "n1"
            ]
        );
        assert_eq!(words(lines.next())[6..], ["<none>"; 4]);
    }

    #[test]
    fn bordered_as_mirrords() {
        assert_eq!(
            shown(&Scope::All, Some(ListFormat::Table)),
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
            shown(&scope, Some(ListFormat::Name)),
            "session.operator.metalbear.co/487f4f2b6d2376ad\nsession.operator.metalbear.co/someone-elses\n"
        );
        let json: Value = serde_json::from_str(&shown(&scope, Some(ListFormat::Json))).unwrap();
        let yaml: Value = serde_saphyr::from_str(&shown(&scope, Some(ListFormat::Yaml))).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items(),
        });
        assert_eq!(json, expected);
        assert_eq!(yaml, expected);
    }
}
