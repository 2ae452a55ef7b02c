//! `delete` and `kill`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mirrord_sessions_crds::SessionId;

use super::{
    choose::{choose, chosen, source},
    meant::{Meant, resolve},
    nothing_found, scope,
    wait::until_over,
};
use crate::{
    cli::{
        boolean,
        stop::{DryRun, SharedDeleteArgs, Stop, Typed},
    },
    console::Console,
    error::Error,
    render::{
        escape::visible,
        listing::{Columns, plain},
    },
    server::{Deletion, Effect, Scope, Server, Source},
    session::{Session, kind_name},
};

/// A session that is to go, or is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Doomed {
    pub(super) namespace: String,
    pub(super) id: SessionId,
    pub(super) uid: Option<String>,
}

impl Doomed {
    pub(super) fn of(session: &Session) -> Self {
        Self { namespace: session.namespace.clone(), id: session.id(), uid: session.uid.clone() }
    }
}

/// What is wrong with the command line that its parser doesn't see, in kubectl's words.
pub(super) fn check(ids: &[Typed], args: &SharedDeleteArgs) -> Result<(), Error> {
    let selects = args.select.is_any();
    if !ids.is_empty() && (selects || args.all) {
        return Err(Error::setup("name cannot be provided when a selector is specified"));
    }
    if args.all && (args.select.labels().is_some() || args.select.fields().is_some()) {
        return Err(Error::setup("setting 'all' parameter but found a non empty selector."));
    }
    if ids.is_empty() && !selects && !args.all {
        return Err(Error::setup(
            "resource(s) were provided, but no name was specified: name sessions, or choose them by -l, --field-selector, --user, --target, --mine, --port or --all",
        ));
    }
    check_stop(&args.stop)
}

pub(super) fn check_stop(stop: &Stop) -> Result<(), Error> {
    if stop.interactive && stop.yes {
        return Err(Error::setup("--interactive and --yes cannot be specified together"));
    }
    if stop.now && stop.grace_period != -1 {
        return Err(Error::setup("--now and --grace-period cannot be specified together"));
    }
    if stop.force && (stop.grace_period > 0 || stop.now) {
        return Err(Error::setup(
            "--force and --grace-period greater than 0 cannot be specified together",
        ));
    }
    match (stop.cascade.as_str(), boolean(&stop.cascade)) {
        ("background", _) | (_, Ok(true)) => {}
        ("foreground" | "orphan", _) | (_, Ok(false)) => {
            return Err(Error::setup(
                "nothing depends on a Session, and its agent ends with it: leave out --cascade",
            ));
        }
        (other, _) => {
            return Err(Error::setup(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    }
    match stop.output.as_deref() {
        None | Some("" | "name") => Ok(()),
        Some(other) => Err(Error::setup(format!(
            "unexpected -o output mode: {other}. We only support '-o name'"
        ))),
    }
}

/// What kubectl says before it does so.
pub(super) fn warning(stop: &Stop) -> Option<&'static str> {
    (grace_period(stop) == Some(0)).then_some(
        "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.",
    )
}

pub(super) async fn run(
    server: &Server,
    ids: &[Typed],
    args: &SharedDeleteArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    source(server, console).await?;
    let scope = scope(server, args.everywhere);
    if !ids.is_empty() {
        return named(server, ids, &scope, args, console).await;
    }
    let (listing, filter) = choose(server, scope, &args.select, false).await?;
    let sessions = chosen(server, &listing, &filter).await?;
    if sessions.is_empty() {
        console.say(&nothing_found(&listing.scope));
        return Ok(());
    }
    if !confirmed(&sessions, &listing.scope, &args.stop, now, console) {
        return Ok(());
    }
    each(server, &sessions, &args.stop, console).await
}

/// Asks a person before several sessions are stopped.
pub(super) fn confirmed(
    sessions: &[Session],
    scope: &Scope,
    stop: &Stop,
    now: Timestamp,
    console: &mut Console<'_>,
) -> bool {
    let columns = Columns { namespace: *scope == Scope::All, ..Columns::default() };
    let table = || plain(sessions, &columns, now);
    asked(sessions.len(), table, stop, console)
}

fn asked(count: usize, what: impl Fn() -> String, stop: &Stop, console: &mut Console<'_>) -> bool {
    if !asks(count, stop, console) {
        return true;
    }
    let sessions = if count == 1 { "session" } else { "sessions" };
    let text = format!("You are about to delete the following {count} {sessions}:\n{}", what());
    let yes = console.confirm(&text, "Do you want to continue?");
    if !yes {
        console.say("deletion is cancelled");
    }
    yes
}

fn asks(count: usize, stop: &Stop, console: &Console<'_>) -> bool {
    let is_wanted = stop.interactive || count > 1 && console.is_interactive();
    count > 0 && is_wanted && stop.dry_run == DryRun::None && !stop.yes
}

/// Stops the sessions of these IDs.
async fn named(
    server: &Server,
    ids: &[Typed],
    scope: &Scope,
    args: &SharedDeleteArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let asks = asks(ids.len(), &args.stop, console);
    // All of them before the first one goes: each that is gone would make the others' beginnings
    // mean something else.
    let (meant, missing) = resolve(server, ids, scope, asks).await?;
    let list = || {
        let lines: Vec<String> = meant.iter().map(Meant::line).collect();
        lines.join("\n") + "\n"
    };
    let mut failed = false;
    // Before the question, which is about the others.
    for error in missing {
        if !args.ignore_not_found {
            failed = true;
            console.say(&error.to_string());
        }
    }
    if !asked(meant.len(), list, &args.stop, console) {
        return if failed { Err(Error::Told) } else { Ok(()) };
    }
    let mut gone = Vec::new();
    for (n, Meant { doomed, .. }) in meant.iter().enumerate() {
        match one(server, doomed, &args.stop).await {
            Ok(doomed) => {
                console.print(&done(&doomed.id, &doomed.namespace, &args.stop))?;
                gone.push(doomed);
            }
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) if error.is_fatal() => {
                // Every further request would meet the same.
                if meant.len() > 1 {
                    let left: Vec<&SessionId> =
                        meant[n..].iter().map(|meant| &meant.doomed.id).collect();
                    say_not_deleted(&left, console);
                }
                return Err(error);
            }
            Err(error) => {
                failed = true;
                console.say(&error.to_string());
            }
        }
    }
    let waited = until_over(server, &gone, &args.stop, console).await;
    if failed { Err(Error::Told) } else { waited }
}

/// Deletes one session, or does what the dry run leaves of it.
pub(super) async fn one(server: &Server, doomed: &Doomed, stop: &Stop) -> Result<Doomed, Error> {
    let Doomed { namespace, id, uid } = doomed;
    let Some(how) = deletion(stop) else {
        server.session(namespace, id).await?;
        return Ok(doomed.clone());
    };
    let how = Deletion { uid: uid.as_deref(), ..how };
    let deleted = server.delete(namespace, id, &how).await?;
    Ok(Doomed { uid: deleted.or_else(|| uid.clone()), ..doomed.clone() })
}

/// What to ask of the server; nothing where only the plugin looks.
pub(super) fn deletion(stop: &Stop) -> Option<Deletion<'static>> {
    let effect = match stop.dry_run {
        DryRun::None => Effect::Real,
        DryRun::Server => Effect::DryRun,
        DryRun::Client => return None,
    };
    Some(Deletion { effect, grace_period: grace_period(stop), uid: None })
}

/// Seconds to let a session end in, as kubectl understands its flags; nothing leaves it to the
/// server.
fn grace_period(stop: &Stop) -> Option<i64> {
    match stop.grace_period {
        _ if stop.now => Some(1),
        // kubectl: 0 needs --force, and is 1 without.
        0 if !stop.force => Some(1),
        ..0 => stop.force.then_some(0),
        seconds => Some(seconds),
    }
}

/// Stops sessions one by one, going on where one is refused.
pub(super) async fn each(
    server: &Server,
    sessions: &[Session],
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut failed = false;
    let mut gone = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        let doomed = Doomed::of(session);
        let id = &doomed.id;
        if stop.dry_run == DryRun::Client {
            // It has just been listed.
            console.print(&done(id, &session.namespace, stop))?;
            continue;
        }
        match one(server, &doomed, stop).await {
            Ok(doomed) => {
                console.print(&done(id, &session.namespace, stop))?;
                gone.push(doomed);
            }
            // Another session has its name by now.
            Err(error) if error.is_not_found() || error.is_conflict() && doomed.uid.is_some() => {
                console.say(&format!("{} \"{id}\" had ended already", kind_name()));
            }
            Err(error) if error.is_fatal() => {
                let left: Vec<SessionId> = sessions[n..].iter().map(Session::id).collect();
                say_not_deleted(&left.iter().collect::<Vec<_>>(), console);
                return Err(error);
            }
            Err(error) => {
                failed = true;
                console.say(&error.to_string());
            }
        }
    }
    let waited = until_over(server, &gone, stop, console).await;
    if failed { Err(Error::Told) } else { waited }
}

/// What kubectl says of an object that it deleted.
pub(super) fn done(id: &SessionId, namespace: &str, stop: &Stop) -> String {
    if stop.output.as_deref() == Some("name") {
        return format!("{}/{}\n", kind_name(), visible(id.name()));
    }
    let how = match stop.dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let deleted = if grace_period(stop) == Some(0) { "force deleted" } else { "deleted" };
    let place = match namespace {
        "" => String::new(),
        name => format!(" from {} namespace", visible(name)),
    };
    format!("{} \"{}\" {deleted}{place}{how}\n", kind_name(), visible(&id.to_string()))
}

/// Names what is left over when it makes no sense to go on.
pub(super) fn say_not_deleted(ids: &[&SessionId], console: &mut Console<'_>) {
    if !ids.is_empty() {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        console.say(&format!("Not deleted: {}", ids.join(", ")));
    }
}

/// The sessions by namespace.
pub(super) fn by_namespace(gone: &[Doomed]) -> BTreeMap<&str, Vec<&Doomed>> {
    let mut namespaces: BTreeMap<&str, Vec<&Doomed>> = BTreeMap::new();
    for doomed in gone {
        namespaces.entry(&doomed.namespace).or_default().push(doomed);
    }
    namespaces
}

/// Whether sessions of this source can outlive their deletion by a moment.
pub(super) fn lingers(source: Source) -> bool {
    // A Session that the API server has deleted is gone; trackers follow.
    source == Source::Trackers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn stop(line: &str) -> Stop {
        let words = ["plugin", "delete", "a"].into_iter();
        let words = words.chain(line.split_whitespace()).map(Into::into);
        let Command::Delete(args) = Cli::of(words).unwrap().command else {
            panic!("{line}");
        };
        args.shared.stop
    }

    #[test]
    fn seconds_to_end_in() {
        for (line, expected) in [
            ("", None),
            ("--grace-period=-1", None),
            ("--grace-period=30", Some(30)),
            ("--grace-period 0", Some(1)),
            ("--force", Some(0)),
            ("--force --grace-period=0", Some(0)),
            ("--now", Some(1)),
            ("--now=false", None),
            ("--cascade=background", None),
            ("--cascade", None),
            ("--cascade b", None),
            ("--cascade=T", None),
            ("--grace-period=0x1_0", Some(16)),
        ] {
            let stop = stop(line);
            assert!(check_stop(&stop).is_ok(), "{line}");
            assert_eq!(grace_period(&stop), expected, "{line}");
        }
        for (line, expected) in [
            ("--now --grace-period=4", "--now and --grace-period cannot"),
            ("--force --grace-period=4", "--force and --grace-period greater than 0 cannot be"),
            ("--force --now", "--force and --grace-period greater than 0"),
            ("--cascade=foreground", "nothing depends on a Session"),
            ("--cascade=0", "nothing depends on a Session"),
            ("--cascade=x", "invalid cascade value (x). Must be"),
        ] {
            let error = check_stop(&stop(line)).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
