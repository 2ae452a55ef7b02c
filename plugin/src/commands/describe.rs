//! `describe`.

mod events;

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};
use mirrord_sessions_crds::{TrackerKind, UNVERIFIED_USERNAME};
use serde_json::Value;

use self::events::{Events, event_table, events};
use super::{
    choose::{meant, source},
    nothing_found, once, scope,
};
use crate::{
    cli::describe::{DescribeArgs, Described},
    console::Console,
    error::Error,
    filter::{Crowd, Filter, Target},
    render::{columns, duration::age, escape::visible},
    server::{Scope, Server},
    session::Session,
};

const NONE: &str = "<none>";

pub(super) async fn run(
    server: &Server,
    args: &DescribeArgs,
    now: &Zoned,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.everywhere);
    source(server, console).await?;
    let mut look = Look {
        server,
        scope: &scope,
        listed: BTreeMap::new(),
    };
    let mut failed = false;
    let mut objects = Vec::new();
    if args.what.is_empty() {
        objects = look.all(&scope).await?.to_vec();
        if objects.is_empty() {
            console.say(&nothing_found(&scope));
        }
    }
    for what in once(&args.what) {
        match look.described(what).await {
            Ok(found) => {
                if let (true, Described::On(target)) = (found.is_empty(), what) {
                    console.say(&nothing_on(target, &scope));
                }
                objects.extend(found);
            }
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                failed = true;
                console.say(&error.to_string());
            }
        }
    }
    for (n, object) in objects.iter().enumerate() {
        let session = Session::of_object(object);
        let around = Around {
            others: look.others(&session).await,
            events: events(server, &session).await,
        };
        // kubectl leaves two empty lines between objects.
        let gap = if n == 0 { "" } else { "\n\n" };
        console.print(&format!("{gap}{}", render(&session, &around, now)))?;
    }
    if failed { Err(Error::Told) } else { Ok(()) }
}

fn nothing_on(target: &Target, scope: &Scope) -> String {
    let place = match scope {
        Scope::All => String::new(),
        Scope::Namespace(name) => format!(" in {name} namespace"),
    };
    format!("No sessions found on {target}{place}.")
}

/// Looks sessions up, and each namespace through at most once.
struct Look<'a> {
    server: &'a Server,
    scope: &'a Scope,
    listed: BTreeMap<Option<String>, Vec<Value>>,
}

impl Look<'_> {
    /// All the sessions of a scope that aren't over.
    async fn all(&mut self, scope: &Scope) -> Result<&[Value], Error> {
        let key = scope.namespace().map(ToOwned::to_owned);
        if !self.listed.contains_key(&key) {
            let mut items = self.server.sessions(scope, None).await?;
            let filter = Filter::default();
            items.retain(|item| filter.shows(&Session::of_object(item)));
            self.listed.insert(key.clone(), items);
        }
        Ok(self.listed.get(&key).map_or(&[], Vec::as_slice))
    }

    async fn described(&mut self, what: &Described) -> Result<Vec<Value>, Error> {
        let target = match what {
            Described::Session(id) => return meant(self.server, self.scope, id).await,
            Described::On(target) => target,
        };
        let filter = Filter {
            target: Some(target.clone()),
            ..Filter::default()
        };
        let all = self.all(self.scope).await?.iter();
        let on_it = all.filter(|item| filter.shows(&Session::of_object(item)));
        Ok(on_it.cloned().collect())
    }

    /// Who else is on the session's target; nothing if the requester may not look.
    async fn others(&mut self, session: &Session) -> Option<Vec<String>> {
        let scope = if self.listed.contains_key(&None) {
            Scope::All
        } else {
            Scope::Namespace(session.namespace.clone())
        };
        let all = self.all(&scope).await.ok()?;
        let all: Vec<Session> = all.iter().map(Session::of_object).collect();
        let others = Crowd::of(&all)
            .others(session)
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        Some(others)
    }
}

/// What there is around a session.
struct Around {
    /// Who else is on its target; nothing if that can't be told.
    others: Option<Vec<String>>,
    events: Events,
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

fn render(session: &Session, around: &Around, now: &Zoned) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Name", Some(&session.name));
    sheet.line("Session ID", Some(&session.id().to_string()));
    sheet.line("Namespace", Some(&session.namespace));
    sheet.line("Target", session.target.as_deref());
    match &around.others {
        Some(others) => sheet.lines("Others On Target", others),
        None => sheet.line(
            "Others On Target",
            Some("<unknown: the sessions of this namespace can't be listed>"),
        ),
    }
    sheet.line("State", session.state.as_deref());
    if session.message.is_some() {
        sheet.line("  Message", session.message.as_deref());
    }
    if session.is_over() {
        sheet.line("  Reason", session.reason.as_deref());
        sheet.line("  Stopped By", session.stopped_by.as_deref());
        sheet.line("  Ended", moment(session.ended, now).as_deref());
    }
    sheet.line("Kind", session.kind.as_deref());
    sheet.line("User", session.user.as_deref());
    owner(&mut sheet, session);
    sheet.line("Client", Some("unverified"));
    sheet.line("  Username", session.client_user.as_deref());
    sheet.line("  Hostname", session.client_host.as_deref());
    sheet.line("  Version", session.version.as_deref());
    if session.key.is_some() {
        sheet.line("Key", session.key.as_deref());
    }
    let at = now.timestamp();
    sheet.line("Started", moment(session.began(at), now).as_deref());
    if session.is_over() {
        sheet.line("Lasted", Some(&session.exact_age(at)));
    }
    match &session.port_summary {
        Some(summary) if session.ports.is_empty() => sheet.line("Ports", Some(summary)),
        _ => {
            let lines: Vec<String> = session.ports.iter().map(|port| port.line.clone()).collect();
            sheet.lines("Ports", &lines);
        }
    }
    if session.header_filter.is_some() {
        sheet.line("Header Filter", session.header_filter.as_deref());
    }
    if !session.processes.is_empty() {
        sheet.lines("Processes", &session.processes);
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
    let table = sheet.events(&around.events, at);
    columns::align(&sheet.0, 0, 2) + &table
}

/// Who it is. What the API server authenticated is in the object since its creation; without that, there
/// is nobody's word but the client's.
fn owner(sheet: &mut Sheet, session: &Session) {
    if session.owner.is_none() {
        return sheet.line("Owner", Some("<none: nobody has verified who this is>"));
    }
    if session.owner.as_deref() == Some(UNVERIFIED_USERNAME) {
        return sheet.line(
            "Owner",
            Some("<unverified: nobody knows who started its agent>"),
        );
    }
    let by = if session.kind.as_deref() == Some(TrackerKind::Operator.as_str()) {
        "mirrord's operator"
    } else {
        "the API server"
    };
    sheet.line("Owner", Some(&format!("verified by {by}")));
    sheet.line("  Username", session.owner.as_deref());
    sheet.line("  UID", session.owner_uid.as_deref());
    sheet.lines("  Groups", &session.owner_groups);
}

impl Sheet {
    /// The Events, as far as they fit into the sheet, and the table that follows it.
    fn events(&mut self, events: &Events, now: Timestamp) -> String {
        match events {
            Events::Found(events) if !events.is_empty() => {
                self.heading("Events");
                return event_table(events, now);
            }
            Events::Found(_) => self.line("Events", None),
            Events::Forbidden => {
                self.line(
                    "Events",
                    Some("<you may not list events in this namespace>"),
                );
            }
            Events::Failed(why) => {
                self.line("Events", Some(&format!("<not available: {why}>")));
            }
        }
        String::new()
    }
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

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;

    fn now() -> Zoned {
        Timestamp::from_second(63).unwrap().to_zoned(TimeZone::UTC)
    }

    fn around(events: Events) -> Around {
        Around {
            others: Some(vec!["zoe@x.co".into()]),
            events,
        }
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
                "processes": ["node", "ev\u{1b}il"],
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
            render(&session, &around(events), &now()),
            "\
Name:              487f4f2b6d2376ad
Session ID:        487F4F2B6D2376AD
Namespace:         default
Target:            deployment/ip-visit-counter
Others On Target:  zoe@x.co
State:             running
Kind:              job
User:              Avi/avi@x.co@avis-macbook
Owner:             verified by the API server
  Username:        avi@x.co
  UID:             <none>
  Groups:          dev
                   system:authenticated
Client:            unverified
  Username:        Avi
  Hostname:        avis\\u{202e}-macbook
  Version:         3.250.0
Key:               avi
Started:           Thu, 01 Jan 1970 00:00:00 +0000 (63s ago)
Ports:             Port: 80, Type: steal, Filter: header=a
                   Port: 81, Type: mirror
Processes:         node
                   ev\\x1bil
Participants:      avi@x.co
                   eve@x.co
Agent:
  Kind:            Job
  Namespace:       m
  Name:            mirrord-agent-a
  Node:            n1
Last Seen:         Thu, 01 Jan 1970 00:01:00 +0000 (3s ago)
Events:
  Type     Reason   Age                From              Message
  ----     ------   ----               ----              -------
  Warning  Odd      62s                x                 \\x1b[2J
  Normal   Running  10s (x3 over 60s)  mirrord-sessions  agent is up
"
        );
    }

    #[test]
    fn what_is_over_says_why() {
        let session = Session::of_object(&json!({
            "metadata": { "name": "x", "creationTimestamp": "1970-01-01T00:00:00Z" },
            "status": {
                "state": "terminated", "reason": "Stopped", "stoppedBy": "boss@x.co",
                "endedAt": "1970-01-01T00:00:13Z",
            },
        }));
        let text = render(&session, &around(Events::Found(vec![])), &now());
        for line in [
            "  Reason:          Stopped\n",
            "  Stopped By:      boss@x.co\n",
            "  Ended:           Thu, 01 Jan 1970 00:00:13 +0000 (50s ago)\n",
            "Lasted:            13s\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn an_owner_that_nobody_verified_is_never_called_verified() {
        let session = Session::of_object(&json!({
            "metadata": { "name": "x", "namespace": "n" },
            "spec": { "owner": { "username": UNVERIFIED_USERNAME } },
            "status": { "message": "the agent carries no stamp" },
        }));
        let text = render(&session, &around(Events::Forbidden), &now());
        assert!(!text.contains("verified by"), "{text}");
        assert!(text.contains("Owner:             <unverified: "), "{text}");
        assert!(
            text.contains("  Message:         the agent carries no stamp"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let session = Session::of_object(&json!({ "metadata": { "name": "x", "namespace": "n" } }));
        let text = render(&session, &around(Events::Forbidden), &now());
        assert!(!text.contains("Key:"), "{text}");
        for line in [
            "Owner:             <none: nobody has verified who this is>\n",
            "Started:           <none>\n",
            "Agent:             <none>\n",
            "Events:            <you may not list events in this namespace>\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let text = render(&session, &around(Events::Failed("no\nway".into())), &now());
        assert!(
            text.ends_with("Events:            <not available: no\\nway>\n"),
            "{text}"
        );
        assert!(
            render(&session, &around(Events::Found(vec![])), &now())
                .ends_with("Events:            <none>\n")
        );
    }
}
