//! `describe`.

use std::cmp::Reverse;

use jiff::{Timestamp, Zoned};
use serde_json::Value;

use super::{nothing_found, once, scope};
use crate::{
    cli::describe::DescribeArgs,
    console::Console,
    error::{Error, Refusal},
    render::{columns, duration::age, escape::visible},
    server::{Scope, Server},
    session::Session,
};

const NONE: &str = "<none>";

/// The Events about a session, as far as the requester may see them.
enum Events {
    Found(Vec<Value>),
    /// RBAC doesn't allow to list them.
    Forbidden,
    /// They couldn't be had, for the reason that is told.
    Failed(String),
}

pub(super) async fn run(
    server: &Server,
    args: &DescribeArgs,
    now: &Zoned,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.everywhere);
    let mut failed = false;
    let mut objects = Vec::new();
    if args.ids.is_empty() {
        objects = server.sessions(&scope, None).await?;
        if objects.is_empty() {
            console.say(&nothing_found(&scope));
        }
    }
    for id in once(&args.ids) {
        let found = match &scope {
            Scope::All => server.find(id).await,
            Scope::Namespace(namespace) => {
                server.session(namespace, id).await.map(|found| vec![found])
            }
        };
        match found {
            Ok(found) => objects.extend(found),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                failed = true;
                console.say(&error.to_string());
            }
        }
    }
    for (n, object) in objects.iter().enumerate() {
        let session = Session::of_object(object);
        let events = events(server, &session).await;
        // kubectl leaves two empty lines between objects.
        let gap = if n == 0 { "" } else { "\n\n" };
        console.print(&format!("{gap}{}", render(&session, &events, now)))?;
    }
    if failed { Err(Error::Told) } else { Ok(()) }
}

async fn events(server: &Server, session: &Session) -> Events {
    match server
        .events(&session.namespace, &session.name, session.uid.as_deref())
        .await
    {
        Ok(events) => Events::Found(events),
        Err(error) if error.refusal().is_some_and(Refusal::is_rbac) => Events::Forbidden,
        Err(error) => Events::Failed(error.to_string()),
    }
}

/// Lines of a name and its value, aligned.
#[derive(Default)]
struct Sheet(Vec<Vec<String>>);

impl Sheet {
    fn line(&mut self, name: &str, value: Option<&str>) {
        let value = visible(value.unwrap_or(NONE)).into_owned();
        self.0.push(vec![format!("{name}:"), value]);
    }

    /// A value of several lines.
    fn lines(&mut self, name: &str, values: &[String]) {
        self.line(name, values.first().map(String::as_str));
        for value in values.iter().skip(1) {
            self.0
                .push(vec![String::new(), visible(value).into_owned()]);
        }
    }

    fn heading(&mut self, name: &str) {
        self.0.push(vec![format!("{name}:")]);
    }
}

fn render(session: &Session, events: &Events, now: &Zoned) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Name", Some(&session.name));
    sheet.line("Session ID", Some(&session.id().to_string()));
    sheet.line("Namespace", Some(&session.namespace));
    sheet.line("Target", session.target.as_deref());
    sheet.line("State", session.state.as_deref());
    sheet.line("User", session.user.as_deref());
    if session.owner.is_some() {
        sheet.heading("Owner");
        sheet.line("  Username", session.owner.as_deref());
        sheet.line("  UID", session.owner_uid.as_deref());
        sheet.lines("  Groups", &session.owner_groups);
    } else {
        sheet.line("Owner", None);
    }
    sheet.heading("Client");
    sheet.line("  Username", session.client_user.as_deref());
    sheet.line("  Hostname", session.client_host.as_deref());
    sheet.line("  Version", session.version.as_deref());
    if session.key.is_some() {
        sheet.line("Key", session.key.as_deref());
    }
    sheet.line("Started", moment(session.started, now).as_deref());
    match &session.port_summary {
        Some(summary) if session.ports.is_empty() => sheet.line("Ports", Some(summary)),
        _ => sheet.lines("Ports", &session.ports),
    }
    sheet.lines("Participants", &session.participants);
    match &session.agent {
        Some(agent) => {
            sheet.heading("Agent");
            sheet.line("  Kind", agent.kind.as_deref());
            sheet.line("  Namespace", agent.namespace.as_deref());
            sheet.line("  Name", agent.name.as_deref());
            sheet.line("  Node", agent.node.as_deref());
        }
        None => sheet.line("Agent", None),
    }
    sheet.line("Last Seen", moment(session.last_seen, now).as_deref());
    let table = match events {
        Events::Found(events) if !events.is_empty() => {
            sheet.heading("Events");
            event_table(events, now.timestamp())
        }
        Events::Found(_) => {
            sheet.line("Events", None);
            String::new()
        }
        Events::Forbidden => {
            sheet.line(
                "Events",
                Some("<you may not list events in this namespace>"),
            );
            String::new()
        }
        Events::Failed(why) => {
            sheet.line("Events", Some(&format!("<not available: {why}>")));
            String::new()
        }
    };
    columns::align(&sheet.0, 0, 2) + &table
}

fn moment(time: Option<Timestamp>, now: &Zoned) -> Option<String> {
    let time = time?;
    let local = time.to_zoned(now.time_zone().clone());
    let ago = age(Some(time), now.timestamp());
    Some(format!(
        "{} ({ago} ago)",
        local.strftime("%a, %d %b %Y %H:%M:%S %z")
    ))
}

fn event_table(events: &[Value], now: Timestamp) -> String {
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| Reverse(last_seen(event)));
    events.reverse();
    let mut rows = vec![
        ["Type", "Reason", "Age", "From", "Message"]
            .map(ToOwned::to_owned)
            .to_vec(),
        ["----", "------", "----", "----", "-------"]
            .map(ToOwned::to_owned)
            .to_vec(),
    ];
    rows.extend(events.into_iter().map(|event| event_row(event, now)));
    for row in &mut rows {
        if let Some(first) = row.first_mut() {
            first.insert_str(0, "  ");
        }
    }
    columns::align(&rows, 0, 2)
}

fn event_row(event: &Value, now: Timestamp) -> Vec<String> {
    let text = |pointer: &str| {
        let text = event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        visible(text.trim()).into_owned()
    };
    let first = time(event, "/eventTime").or_else(|| time(event, "/firstTimestamp"));
    let count = |pointer: &str| event.pointer(pointer).and_then(Value::as_i64);
    let repeated =
        |count: i64, last| format!("{} (x{count} over {})", age(last, now), age(first, now));
    let when = match (count("/series/count"), count("/count")) {
        (Some(series), _) => repeated(series, time(event, "/series/lastObservedTime")),
        (None, Some(count @ 2..)) => repeated(count, time(event, "/lastTimestamp")),
        _ => age(first, now),
    };
    let from = Some(text("/source/component"))
        .filter(|from| !from.is_empty())
        .unwrap_or_else(|| text("/reportingComponent"));
    vec![text("/type"), text("/reason"), when, from, text("/message")]
}

fn last_seen(event: &Value) -> Option<Timestamp> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/firstTimestamp",
    ]
    .iter()
    .find_map(|pointer| time(event, pointer))
}

fn time(event: &Value, pointer: &str) -> Option<Timestamp> {
    event.pointer(pointer)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;

    fn now() -> Zoned {
        Timestamp::from_second(63).unwrap().to_zoned(TimeZone::UTC)
    }

    #[test]
    fn one_screen() {
        let session = Session::of_object(&json!({
            "metadata": {
                "name": "487f4f2b6d2376ad", "namespace": "default",
                "creationTimestamp": "1970-01-01T00:00:00Z",
            },
            "spec": {
                "target": "deployment/ip-visit-counter",
                "user": "Avi/avi@x.co@avis-macbook",
                "owner": { "username": "avi@x.co", "groups": ["dev", "system:authenticated"] },
                "client": { "username": "Avi", "hostname": "avis\u{202e}-macbook", "version": "3.250.0" },
                "key": "avi",
            },
            "status": {
                "state": "running",
                "ports": [{ "port": 80, "type": "steal", "filter": "header=a" }, { "port": 81, "type": "mirror" }],
                "participants": ["eve@x.co"],
                "lastSeen": "1970-01-01T00:01:00Z",
                "agent": { "kind": "Job", "namespace": "m", "name": "mirrord-agent-a", "uid": "u", "node": "n1" },
            },
        }));
        let events = Events::Found(vec![
            json!({
                "type": "Normal", "reason": "Running", "message": "agent is up\n", "count": 3,
                "firstTimestamp": "1970-01-01T00:00:03Z", "lastTimestamp": "1970-01-01T00:00:53Z",
                "source": { "component": "mirrord-sessions" },
            }),
            json!({
                "type": "Warning", "reason": "Odd", "message": "\u{1b}[2J", "eventTime": "1970-01-01T00:00:01.000000Z",
                "reportingComponent": "x",
            }),
        ]);
        assert_eq!(
            render(&session, &events, &now()),
            "\
Name:          487f4f2b6d2376ad
Session ID:    487F4F2B6D2376AD
Namespace:     default
Target:        deployment/ip-visit-counter
State:         running
User:          Avi/avi@x.co@avis-macbook
Owner:
  Username:    avi@x.co
  UID:         <none>
  Groups:      dev
               system:authenticated
Client:
  Username:    Avi
  Hostname:    avis\\u{202e}-macbook
  Version:     3.250.0
Key:           avi
Started:       Thu, 01 Jan 1970 00:00:00 +0000 (63s ago)
Ports:         Port: 80, Type: steal, Filter: header=a
               Port: 81, Type: mirror
Participants:  eve@x.co
Agent:
  Kind:        Job
  Namespace:   m
  Name:        mirrord-agent-a
  Node:        n1
Last Seen:     Thu, 01 Jan 1970 00:01:00 +0000 (3s ago)
Events:
  Type     Reason   Age                From              Message
  ----     ------   ----               ----              -------
  Warning  Odd      62s                x                 \\x1b[2J
  Normal   Running  10s (x3 over 60s)  mirrord-sessions  agent is up
"
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let session = Session::of_object(&json!({ "metadata": { "name": "x", "namespace": "n" } }));
        let text = render(&session, &Events::Forbidden, &now());
        assert!(!text.contains("Key:"), "{text}");
        for line in [
            "Owner:         <none>\n",
            "Started:       <none>\n",
            "Agent:         <none>\n",
            "Events:        <you may not list events in this namespace>\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let text = render(&session, &Events::Failed("no\nway".into()), &now());
        assert!(
            text.ends_with("Events:        <not available: no\\nway>\n"),
            "{text}"
        );
        assert!(
            render(&session, &Events::Found(vec![]), &now()).ends_with("Events:        <none>\n")
        );
    }

    #[test]
    fn events_of_any_shape() {
        for event in [
            json!(null),
            json!({ "series": 1, "count": "x", "message": 5 }),
            json!([]),
        ] {
            assert!(event_table(&[event], Timestamp::UNIX_EPOCH).lines().count() == 3);
        }
    }
}
