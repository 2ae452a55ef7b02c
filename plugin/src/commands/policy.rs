//! The command `policy test`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use mirrord_sessions_core::{
    policy::{Policy, RuleRef, Verdict, Visibility, unrestrictive_rules},
    where_clause::{Tracker, Traits, User},
};
use mirrord_sessions_crds::SessionPolicySpec;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{nothing_found, scope, selection::source};
use crate::{
    cli::ConnectionOptions,
    cli::policy::{PolicyCommand, TestArgs, TestFormat},
    console::Console,
    error::Error,
    filter::Filter,
    render::{
        columns,
        escape::visible,
        listing::names,
        output::{self, Format},
    },
    server::{Scope, Server},
    session::Session,
};

/// Limit of an input file, in bytes.
const LARGEST: u64 = 1 << 26;

pub(super) async fn run(
    command: PolicyCommand,
    mut connection: ConnectionOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let PolicyCommand::Test(args) = command;
    let requester = Requester::from_connection(&mut connection)?;
    let mut stdin = Stdin::default();
    let policies = policies(&args.filename, &mut stdin)?;
    let (sessions, everywhere) = if let Some(path) = &args.sessions {
        (from_file(path, &mut stdin)?, true)
    } else {
        let server = Server::connect(&connection).await?;
        let scope = scope(&server, args.namespaces);
        let sessions = live(&server, &scope, console).await?;
        if sessions.is_empty() {
            console.say(&nothing_found(&scope));
        }
        (sessions, scope == Scope::All)
    };
    for warning in policies.iter().flat_map(Policy::warnings) {
        console.say(&format!("Warning: {warning}"));
    }
    let sessions: Vec<JoinedSession> = sessions.into_iter().map(JoinedSession::new).collect();
    let trackers: Vec<Tracker<'_>> =
        sessions.iter().map(|session| session.tracker(&args.cluster_name)).collect();
    let (user, verb) = (requester.user(), args.verb.into());
    for rule in unrestrictive_rules(&policies, &user, verb, &trackers) {
        console.say(&unrestrictive_warning(&rule, &requester));
    }
    let visibility = Visibility::resolve(&policies, &user, verb);
    let verdicts: Vec<Verdict> =
        trackers.iter().map(|tracker| visibility.explain(tracker)).collect();
    let seen: Vec<VisibleSession> = sessions
        .into_iter()
        .zip(verdicts)
        .map(|(session, verdict)| VisibleSession {
            session: session.session,
            visible: verdict.visible,
            why: verdict.cause.to_string(),
        })
        .collect();
    console.print(&render(&seen, &requester, &args, everywhere)?)
}

/// The user to test, from the impersonation flags. The command makes no request with them.
struct Requester {
    name: String,
    groups: Vec<String>,
    traits: Traits,
}

impl Requester {
    fn from_connection(connection: &mut ConnectionOptions) -> Result<Self, Error> {
        let name = connection.impersonate.take().ok_or_else(|| {
            Error::setup("name the user to test: --as USER, with --as-group GROUP for each group")
        })?;
        connection.impersonate_uid = None;
        let mut traits = Traits::new();
        for pair in std::mem::take(&mut connection.impersonate_extra) {
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            traits.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        let groups = groups_of(&name, std::mem::take(&mut connection.impersonate_groups));
        Ok(Self { name, groups, traits })
    }

    fn user(&self) -> User<'_> {
        User { name: &self.name, roles: &self.groups, traits: &self.traits }
    }
}

/// Returns the groups of the user with those that the API server adds to an impersonated user.
fn groups_of(name: &str, mut groups: Vec<String>) -> Vec<String> {
    let account = name.strip_prefix("system:serviceaccount:");
    if let Some((namespace, _)) = account.and_then(|account| account.split_once(':'))
        && groups.is_empty()
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    let (known, unknown) = ("system:authenticated", "system:unauthenticated");
    let is_in = |group| groups.iter().any(|found| found == group);
    if name == "system:anonymous" {
        if !is_in(unknown) {
            groups.push(unknown.to_owned());
        }
    } else if !is_in(known) && !is_in(unknown) {
        groups.push(known.to_owned());
    }
    groups
}

/// A session with the decision about it.
struct VisibleSession {
    session: Session,
    visible: bool,
    why: String,
}

/// A session with the users who joined it.
struct JoinedSession {
    session: Session,
    joined: Vec<String>,
}

impl JoinedSession {
    fn new(session: Session) -> Self {
        let joined =
            session.participants.iter().filter(|name| Some(*name) != session.owner.as_ref());
        Self { joined: joined.cloned().collect(), session }
    }

    /// Returns the fields that conditions refer to, in a cluster of this name.
    fn tracker<'a>(&'a self, cluster: &'a str) -> Tracker<'a> {
        fn text(value: Option<&String>) -> &str {
            value.map_or("", String::as_str)
        }
        let session = &self.session;
        Tracker {
            session_id: &session.name,
            kind: session.kind.as_deref().unwrap_or("process"),
            state: session.state.as_deref().unwrap_or("pending"),
            hostname: text(session.client_host.as_ref()),
            login: text(session.client_user.as_ref()),
            namespace: &session.namespace,
            target: text(session.target.as_ref()),
            cluster,
            kube_cluster: cluster,
            host_user: text(session.owner.as_ref()),
            host_roles: &session.owner_groups,
            joined: &self.joined,
        }
    }
}

fn unrestrictive_warning(rule: &RuleRef, requester: &Requester) -> String {
    format!(
        "Warning: the condition of SessionPolicy {rule} matches every session here, so for {:?} it restricts nothing",
        requester.name
    )
}

async fn live(
    server: &Server,
    scope: &Scope,
    console: &mut Console<'_>,
) -> Result<Vec<Session>, Error> {
    source(server, console).await?;
    let filter = Filter::default();
    let items = server.sessions(scope, None).await?;
    let mut sessions: Vec<Session> = items.iter().map(Session::from_object).collect();
    sessions.retain(|session| filter.shows(session));
    Ok(sessions)
}

fn from_file(path: &Path, stdin: &mut Stdin) -> Result<Vec<Session>, Error> {
    let objects = objects(path, stdin)?;
    let mut sessions = Vec::new();
    for object in &objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["Session", "SessionTracker"].contains(&kind) {
            return Err(Error::setup(format!(
                "{}: expected a Session, a SessionTracker or a List of them, found kind {kind:?}",
                path.display()
            )));
        }
        sessions.push(Session::from_object(object));
    }
    Ok(sessions)
}

fn policies(paths: &[PathBuf], stdin: &mut Stdin) -> Result<Vec<Policy>, Error> {
    let mut policies = Vec::new();
    for path in paths {
        for object in objects(path, stdin)? {
            let place = path.display();
            if object["kind"] != "SessionPolicy" {
                return Err(Error::setup(format!(
                    "{place}: expected a SessionPolicy, found kind {}",
                    object["kind"]
                )));
            }
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            let name = name.unwrap_or_default();
            let invalid = |what: &dyn std::fmt::Display| {
                Error::setup(format!("{place}: SessionPolicy \"{name}\" is invalid: {what}"))
            };
            let Some(spec) = object.get("spec") else {
                return Err(invalid(&"spec: Required value"));
            };
            let spec = SessionPolicySpec::deserialize(spec)
                .map_err(|error| invalid(&format!("spec: {error}")))?;
            let (policy, errors) = Policy::from_spec(name, &spec);
            if !errors.is_empty() {
                return Err(invalid(&mirrord_sessions_core::policy::InvalidPolicy(errors)));
            }
            policies.push(policy);
        }
    }
    Ok(policies)
}

/// Standard input, which can be read only once.
#[derive(Default)]
struct Stdin {
    taken: bool,
}

/// Returns the objects of all documents of a file, with Lists expanded.
fn objects(path: &Path, stdin: &mut Stdin) -> Result<Vec<Value>, Error> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::setup(format!("error reading {}: {what}", path.display()))
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        if std::mem::replace(&mut stdin.taken, true) {
            return Err(Error::setup(
                "standard input can be read only once: use a file for the policies or the sessions",
            ));
        }
        std::io::stdin().take(LARGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
    };
    let size = read.map_err(|error| failed(&error))?;
    if u64::try_from(size).is_ok_and(|size| size > LARGEST) {
        return Err(failed(&"it is larger than 64 MiB"));
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        let error = error.to_string();
        failed(&error.lines().next().unwrap_or_default())
    })?;
    let mut objects = Vec::new();
    for document in documents {
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document {
            Value::Null => {}
            Value::Object(mut list) if is_list => match list.remove("items") {
                Some(Value::Array(items)) => objects.extend(items),
                _ => return Err(failed(&"it is a List without items")),
            },
            Value::Object(_) => objects.push(document),
            _ => return Err(failed(&"expected a Kubernetes object")),
        }
    }
    Ok(objects)
}

fn render(
    seen: &[VisibleSession],
    requester: &Requester,
    args: &TestArgs,
    everywhere: bool,
) -> Result<String, Error> {
    match args.output {
        Some(TestFormat::Name) => {
            let shown = seen.iter().filter(|seen| seen.visible);
            let shown: Vec<Session> = shown.map(|seen| seen.session.clone()).collect();
            Ok(names(&shown))
        }
        Some(TestFormat::Json) => {
            output::render(&to_object(seen, requester, args), Format::Json).map_err(Error::Output)
        }
        Some(TestFormat::Yaml) => {
            output::render(&to_object(seen, requester, args), Format::Yaml).map_err(Error::Output)
        }
        None if seen.is_empty() => Ok(String::new()),
        None => Ok(render_columns(seen, everywhere)),
    }
}

fn render_columns(seen: &[VisibleSession], everywhere: bool) -> String {
    let mut header = vec!["SESSION ID", "TARGET"];
    if everywhere {
        header.push("NAMESPACE");
    }
    header.extend(["USER", "VISIBLE", "WHY"]);
    let mut rows = vec![header.into_iter().map(ToOwned::to_owned).collect()];
    rows.extend(seen.iter().map(|seen| {
        let session = &seen.session;
        let cell = |value: Option<&str>| visible(value.unwrap_or("<none>")).into_owned();
        let mut row = vec![cell(Some(&session.id().to_string())), cell(session.target.as_deref())];
        if everywhere {
            row.push(cell(Some(&session.namespace)));
        }
        let word = if seen.visible { "yes" } else { "no" };
        row.extend([cell(session.user.as_deref()), word.to_owned(), cell(Some(&seen.why))]);
        row
    }));
    columns::kubectl_get(&rows)
}

fn to_object(seen: &[VisibleSession], requester: &Requester, args: &TestArgs) -> Value {
    let verb: mirrord_sessions_core::policy::Verb = args.verb.into();
    let sessions = seen.iter().map(|seen| {
        json!({
            "name": seen.session.name,
            "namespace": seen.session.namespace,
            "visible": seen.visible,
            "why": seen.why,
        })
    });
    json!({
        "requester": { "username": requester.name, "groups": requester.groups, "extra": requester.traits },
        "sessions": sessions.collect::<Vec<_>>(),
        "verb": verb.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_implicit_groups() {
        for (name, given, expected) in [
            ("eve", &[][..], &["system:authenticated"][..]),
            ("eve", &["devs"], &["devs", "system:authenticated"]),
            ("eve", &["system:authenticated"], &["system:authenticated"]),
            (
                "system:serviceaccount:ci:bot",
                &[],
                &["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"],
            ),
            ("system:serviceaccount:ci:bot", &["a"], &["a", "system:authenticated"]),
            ("system:serviceaccount:ci", &[], &["system:authenticated"]),
            ("system:anonymous", &[], &["system:unauthenticated"]),
            ("system:anonymous", &["system:unauthenticated"], &["system:unauthenticated"]),
        ] {
            let given = given.iter().map(|group| (*group).to_owned()).collect();
            assert_eq!(groups_of(name, given), expected, "{name}");
        }
    }
}
