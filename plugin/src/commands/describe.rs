//! The command `describe`, which shows all details of sessions.

mod events;

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};
use mirrord_sessions_crds::{TrackerKind, UNVERIFIED_USERNAME};
use serde_json::Value;

use self::events::{Events, event_table, events};
use super::{
    nothing_found, once, scope,
    selection::{find, source},
};
use crate::{
    cli::describe::{DescribeArgs, DescribeArgument},
    console::Console,
    error::Error,
    filter::{ConcurrentSessions, Filter, Target},
    render::{columns, duration::age, escape::visible},
    server::{ListOptions, Scope, Server},
    session::Session,
};

const NONE: &str = "<none>";

pub(super) async fn run(
    server: &Server,
    args: &DescribeArgs,
    now: &Zoned,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.namespaces);
    source(server, console).await?;
    let mut lookup =
        SessionLookup { server, scope: &scope, chunk: args.chunk_size, listed: BTreeMap::new() };
    let mut failed = false;
    let mut objects = Vec::new();
    if let Some(labels) = &args.labels {
        objects = lookup.list(&scope, Some(labels)).await?;
        if objects.is_empty() {
            console.say(&nothing_found(&scope));
        }
    } else if args.what.is_empty() {
        objects = lookup.all(&scope).await?.to_vec();
        if objects.is_empty() {
            console.say(&nothing_found(&scope));
        }
    }
    for what in once(&args.what) {
        match lookup.find(what).await {
            Ok(found) => {
                if let (true, DescribeArgument::Target(target)) = (found.is_empty(), what) {
                    console.say(&no_sessions_on(target, &scope));
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
        let session = Session::from_object(object);
        let context = SessionContext {
            others: lookup.concurrent_owners(&session).await,
            events: if args.show_events {
                events(server, &session).await
            } else {
                Events::NotRequested
            },
        };
        // kubectl separates objects by two empty lines.
        let gap = if n == 0 { "" } else { "\n\n" };
        console.print(&format!("{gap}{}", render(&session, &context, now)))?;
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}

/// Rejects command lines that the parser accepts and that are contradictory.
pub(super) fn check(args: &DescribeArgs) -> Result<(), Error> {
    if args.labels.is_some() && !args.what.is_empty() {
        return Err(Error::setup("name cannot be provided when a selector is specified"));
    }
    Ok(())
}

fn no_sessions_on(target: &Target, scope: &Scope) -> String {
    let place = match scope {
        Scope::All => String::new(),
        Scope::Namespace(name) => format!(" in {name} namespace"),
    };
    format!("No sessions found on {target}{place}.")
}

/// Looks up sessions, and lists each namespace at most once.
struct SessionLookup<'a> {
    server: &'a Server,
    scope: &'a Scope,
    chunk: Option<usize>,
    listed: BTreeMap<Option<String>, Vec<Value>>,
}

impl SessionLookup<'_> {
    /// Lists the live sessions of a scope.
    async fn list(&self, scope: &Scope, labels: Option<&str>) -> Result<Vec<Value>, Error> {
        let labels = labels.map(str::trim).filter(|labels| !labels.is_empty());
        let listing = ListOptions {
            labels: labels.map(ToOwned::to_owned),
            chunk: self.chunk,
            ..ListOptions::in_scope(scope.clone())
        };
        let mut items = self.server.list(&listing).await?.collect().await?;
        let filter = Filter::default();
        items.retain(|item| filter.shows(&Session::from_object(item)));
        Ok(items)
    }

    /// Returns all live sessions of a scope, listed once.
    async fn all(&mut self, scope: &Scope) -> Result<&[Value], Error> {
        let key = scope.namespace().map(ToOwned::to_owned);
        if !self.listed.contains_key(&key) {
            let items = self.list(scope, None).await?;
            self.listed.insert(key.clone(), items);
        }
        Ok(self.listed.get(&key).map_or(&[], Vec::as_slice))
    }

    async fn find(&mut self, what: &DescribeArgument) -> Result<Vec<Value>, Error> {
        let target = match what {
            DescribeArgument::Session(id) => return find(self.server, self.scope, id).await,
            DescribeArgument::Target(target) => target,
        };
        let filter = Filter { target: Some(target.clone()), ..Filter::default() };
        let all = self.all(self.scope).await?.iter();
        let on_target = all.filter(|item| filter.shows(&Session::from_object(item)));
        Ok(on_target.cloned().collect())
    }

    /// Returns the other owners on the session's target, or nothing if the requester may not list.
    async fn concurrent_owners(&mut self, session: &Session) -> Option<Vec<String>> {
        let scope = if self.listed.contains_key(&None) {
            Scope::All
        } else {
            Scope::Namespace(session.namespace.clone())
        };
        let all = self.all(&scope).await.ok()?;
        let all: Vec<Session> = all.iter().map(Session::from_object).collect();
        let others = ConcurrentSessions::new(&all)
            .concurrent_owners(session)
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        Some(others)
    }
}

/// The context of a session.
struct SessionContext {
    /// The other owners on its target, or nothing if they are unknown.
    others: Option<Vec<String>>,
    events: Events,
}

/// Aligned lines of names and values.
#[derive(Default)]
struct DetailLines(Vec<Vec<String>>);

impl DetailLines {
    fn line(&mut self, name: &str, value: Option<&str>) {
        let value = visible(value.unwrap_or(NONE)).into_owned();
        self.0.push(vec![format!("{name}:"), value]);
    }

    /// Adds a value of several lines.
    fn lines(&mut self, name: &str, values: &[String]) {
        self.line(name, values.first().map(String::as_str));
        for value in values.iter().skip(1) {
            self.0.push(vec![String::new(), visible(value).into_owned()]);
        }
    }

    fn heading(&mut self, name: &str) {
        self.0.push(vec![format!("{name}:")]);
    }
}

fn render(session: &Session, context: &SessionContext, now: &Zoned) -> String {
    let mut details = DetailLines::default();
    details.line("Name", Some(&session.name));
    details.line("Session ID", Some(&session.id().to_string()));
    details.line("Namespace", Some(&session.namespace));
    details.line("Target", session.target.as_deref());
    match &context.others {
        Some(others) => details.lines("Others On Target", others),
        None => details.line(
            "Others On Target",
            Some("<unknown: the sessions of this namespace can't be listed>"),
        ),
    }
    details.line("State", session.state.as_deref());
    if session.message.is_some() {
        details.line("  Message", session.message.as_deref());
    }
    if session.is_over() {
        details.line("  Reason", session.reason.as_deref());
        details.line("  Stopped By", session.stopped_by.as_deref());
        details.line("  Ended", describe_time(session.ended, now).as_deref());
    }
    details.line("Kind", session.kind.as_deref());
    details.line("User", session.user.as_deref());
    owner(&mut details, session);
    details.line("Client", Some("unverified"));
    details.line("  Username", session.client_user.as_deref());
    details.line("  Hostname", session.client_host.as_deref());
    details.line("  Version", session.version.as_deref());
    if session.key.is_some() {
        details.line("Key", session.key.as_deref());
    }
    let at = now.timestamp();
    details.line("Started", describe_time(session.start_time(at), now).as_deref());
    if session.is_over() {
        details.line("Lasted", Some(&session.exact_age(at)));
    }
    match &session.port_summary {
        Some(summary) if session.ports.is_empty() => details.line("Ports", Some(summary)),
        _ => {
            let lines: Vec<String> = session.ports.iter().map(|port| port.line.clone()).collect();
            details.lines("Ports", &lines);
        }
    }
    if session.header_filter.is_some() {
        details.line("Header Filter", session.header_filter.as_deref());
    }
    if !session.processes.is_empty() {
        details.lines("Processes", &session.processes);
    }
    details.lines("Participants", &session.participants);
    match &session.agent {
        Some(agent) => {
            details.heading("Agent");
            details.line("  Kind", agent.kind.as_deref());
            details.line("  Namespace", agent.namespace.as_deref());
            details.line("  Name", agent.name.as_deref());
            details.line("  Node", agent.node.as_deref());
        }
        None => details.line("Agent", None),
    }
    details.line("Last Seen", describe_time(session.last_seen, now).as_deref());
    let table = details.events(&context.events, at);
    columns::align(&details.0, 0, 2) + &table
}

/// Adds the owner to the description, as the API server authenticated it at creation. Without an
/// owner, only the claims of the client are shown.
fn owner(details: &mut DetailLines, session: &Session) {
    if session.owner.is_none() {
        return details.line("Owner", Some("<none: the user is not verified>"));
    }
    if session.owner.as_deref() == Some(UNVERIFIED_USERNAME) {
        return details.line("Owner", Some("<unverified: the requester of its agent is unknown>"));
    }
    let by = if session.kind.as_deref() == Some(TrackerKind::Operator.as_str()) {
        "mirrord's operator"
    } else {
        "the API server"
    };
    details.line("Owner", Some(&format!("verified by {by}")));
    details.line("  Username", session.owner.as_deref());
    details.line("  UID", session.owner_uid.as_deref());
    details.lines("  Groups", &session.owner_groups);
}

impl DetailLines {
    /// Adds the summary of Events, and returns the table that follows the lines.
    fn events(&mut self, events: &Events, now: Timestamp) -> String {
        match events {
            Events::Found(events) if !events.is_empty() => {
                self.heading("Events");
                return event_table(events, now);
            }
            Events::Found(_) => self.line("Events", None),
            Events::NotRequested => {}
            Events::Forbidden => {
                self.line("Events", Some("<you may not list events in this namespace>"));
            }
            Events::Failed(why) => {
                self.line("Events", Some(&format!("<not available: {why}>")));
            }
        }
        String::new()
    }
}

fn describe_time(time: Option<Timestamp>, now: &Zoned) -> Option<String> {
    let time = time?;
    let local = time.to_zoned(now.time_zone().clone());
    let ago = age(Some(time), now.timestamp());
    Some(format!("{} ({ago} ago)", local.strftime("%a, %d %b %Y %H:%M:%S %z")))
}

#[cfg(test)]
mod tests;
