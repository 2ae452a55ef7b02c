//! `kill-all`.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    choose::{choose, chosen, source},
    delete::{Doomed, check_stop, confirmed, deletion, done, each},
    nothing_found, scope,
    wait::until_over,
};
use crate::{
    cli::stop::{DryRun, KillAllArgs, Stop},
    console::Console,
    error::{Error, Refusal},
    render::escape::visible,
    server::{Deletion, Effect, Scope, Server, Source, gone},
    session::{Session, kind_name},
};

/// What is known to be there; `None` if the requester may not list it.
type Listed = Option<Vec<Session>>;

/// What is wrong with the command line that its parser doesn't see.
pub(super) fn check(args: &KillAllArgs) -> Result<(), Error> {
    if args.select.has_empty() {
        // It would stop everything, which nobody means who begins to select.
        return Err(Error::setup(
            "the selector is empty: leave out -l and --field-selector to stop all the sessions",
        ));
    }
    check_stop(&args.stop)
}

pub(super) async fn run(
    server: &Server,
    args: &KillAllArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.everywhere);
    let source = source(server, console).await?;
    let listed = list(server, source, &scope, args).await?;
    if listed.as_ref().is_some_and(Vec::is_empty) {
        console.say(&nothing_found(&scope));
        return Ok(());
    }
    let go_on = match &listed {
        Some(sessions) => confirmed(sessions, &scope, &args.stop, now, console),
        None => confirmed_unseen(&scope, &args.stop, console),
    };
    if !go_on {
        return Ok(());
    }
    match (listed, deletion(&args.stop)) {
        // Some of what the operator serves has no ID that it could be stopped by.
        (Some(sessions), Some(how))
            if source == Source::Operator
                && scope == Scope::All
                && args.select.previews
                && !args.select.is_any() =>
        {
            all_operators(server, &sessions, &how, &args.stop, console).await
        }
        // Each by its uid: what has started since wasn't asked about, and what is hidden isn't
        // meant.
        (Some(sessions), _) => each(server, &sessions, &args.stop, console).await,
        (None, _) => {
            let namespace = scope.namespace().unwrap_or_default();
            unseen(server, namespace, &args.stop, console).await
        }
    }
}

/// What is there. mirrord's users may delete sessions without being allowed to list them, which
/// must not be in the way as long as the namespace is known.
async fn list(
    server: &Server,
    source: Source,
    scope: &Scope,
    args: &KillAllArgs,
) -> Result<Listed, Error> {
    let (listing, filter) = choose(server, scope.clone(), &args.select, false).await?;
    match chosen(server, &listing, &filter).await {
        Ok(sessions) => Ok(Some(sessions)),
        Err(error)
            if *scope != Scope::All
                // mirrord's operator knows no collection but that of the cluster.
                && source != Source::Operator
                // What can't be seen can't be chosen from.
                && !args.select.is_any()
                // A dry run on the client's side is nothing but the list.
                && args.stop.dry_run != DryRun::Client
                && error.refusal().is_some_and(Refusal::is_rbac) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Asks a person before sessions are stopped that they may not list.
fn confirmed_unseen(scope: &Scope, stop: &Stop, console: &mut Console<'_>) -> bool {
    if stop.dry_run != DryRun::None || stop.yes || !(stop.interactive || console.is_interactive()) {
        return true;
    }
    let text = format!(
        "You are about to delete all sessions in namespace \"{}\", which you may not list.\n",
        scope.namespace().unwrap_or_default()
    );
    let yes = console.confirm(&text, "Do you want to continue?");
    if !yes {
        console.say("deletion is cancelled");
    }
    yes
}

/// Ends everything that mirrord's operator knows in the cluster, what has no ID of its own too: it
/// knows no smaller collection.
async fn all_operators(
    server: &Server,
    sessions: &[Session],
    how: &Deletion<'_>,
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    server.end_all_operators(how).await?;
    let lines = sessions.iter().map(|session| done(&session.id(), &session.namespace, stop));
    console.print(&lines.collect::<String>())
}

/// Stops whatever there is in the namespace: it can't be listed, so neither can it be named.
async fn unseen(
    server: &Server,
    namespace: &str,
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let Some(how) = deletion(stop) else {
        return Ok(());
    };
    match server.delete_all(namespace, &how).await {
        Ok(Some(deleted)) => tell(server, namespace, &deleted, &how, stop, console).await,
        Ok(None) => console.print(&format!(
            "all {}s deleted from {} namespace\n",
            kind_name(),
            visible(namespace)
        )),
        // The server deletes one after the other and stops at the first that it refuses; without
        // the right to delete collections it hasn't begun.
        Err(error) if !error.is_fatal() && !error.refusal().is_some_and(Refusal::is_rbac) => {
            console.say(&error.to_string());
            console.say(&format!(
                "Not all sessions of namespace \"{namespace}\" were deleted, and you may not list those that are left: name them, as in \"kubectl mirrord-sessions delete ID\""
            ));
            Err(Error::Told)
        }
        Err(error) => Err(error),
    }
}

/// What the server says that it has deleted.
async fn tell(
    server: &Server,
    namespace: &str,
    deleted: &[Value],
    how: &Deletion<'_>,
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut deleted: Vec<(Session, &Value)> =
        deleted.iter().map(|object| (Session::of_object(object), object)).collect();
    deleted.sort_by(|(one, _), (other, _)| one.order(other));
    let mut failed = false;
    let mut over = Vec::new();
    for (session, object) in deleted {
        let id = session.id();
        match gone(object, namespace, &id) {
            Err(error) if how.effect == Effect::Real => {
                failed = true;
                console.say(&error.to_string());
            }
            _ => {
                console.print(&done(&id, namespace, stop))?;
                over.push(Doomed { namespace: namespace.to_owned(), ..Doomed::of(&session) });
            }
        }
    }
    let waited = until_over(server, &over, stop, console).await;
    if failed { Err(Error::Told) } else { waited }
}
