//! The command `kill-all`, which deletes all sessions of a scope.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    delete::{
        DeleteTarget, check_stop, confirm, delete_listed, deleted_line, deletion, wait_until_ended,
    },
    nothing_found, scope,
    selection::{list_selected, select, source},
};
use crate::{
    cli::stop::{DryRun, KillAllArgs, StopOptions},
    console::Console,
    error::{ApiError, Error},
    render::escape::visible,
    server::{DeleteOptions, Effect, Scope, Server, Source, check_finalizers},
    session::{Session, kind_name},
};

/// The sessions of the scope; `None` if the requester may not list them.
type Listed = Option<Vec<Session>>;

/// Rejects command lines that the parser accepts and that would delete too much.
pub(super) fn check(args: &KillAllArgs) -> Result<(), Error> {
    if args.select.has_empty() {
        // An empty selector would select everything, which the user can't have intended.
        return Err(Error::setup(
            "the selector is empty: leave out -l and --field-selector to stop all the sessions",
        ));
    }
    args.select.check()?;
    check_stop(&args.stop)
}

pub(super) async fn run(
    server: &Server,
    args: &KillAllArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.namespaces);
    let source = source(server, console).await?;
    let listed = list(server, source, &scope, args).await?;
    if listed.as_ref().is_some_and(Vec::is_empty) {
        console.say(&nothing_found(&scope));
        return Ok(());
    }
    let proceed = match &listed {
        Some(sessions) => confirm(sessions, &scope, &args.stop, now, console),
        None => confirm_unlisted(&scope, &args.stop, console),
    };
    if !proceed {
        return Ok(());
    }
    match (listed, deletion(&args.stop)) {
        // Some sessions of mirrord's operator have no ID to delete them by.
        (Some(sessions), Some(deletion))
            if source == Source::Operator
                && scope == Scope::All
                && args.select.previews
                && !args.select.is_any() =>
        {
            delete_all_of_operator(server, &sessions, &deletion, &args.stop, console).await
        }
        (Some(sessions), _) => delete_listed(server, &sessions, &args.stop, console).await,
        (None, _) => {
            let namespace = scope.namespace().unwrap_or_default();
            delete_unlisted(server, namespace, &args.stop, console).await
        }
    }
}

/// Lists the selected sessions.
///
/// A user may be allowed to delete sessions and not to list them. Returns `None` then, if the
/// sessions can be deleted as the collection of a namespace.
async fn list(
    server: &Server,
    source: Source,
    scope: &Scope,
    args: &KillAllArgs,
) -> Result<Listed, Error> {
    let (listing, filter) = select(server, scope.clone(), &args.select, false).await?;
    match list_selected(server, &listing, &filter).await {
        Ok(sessions) => Ok(Some(sessions)),
        Err(error)
            if *scope != Scope::All
                // mirrord's operator has no collection per namespace.
                && source != Source::Operator
                // Sessions that can't be listed can't be filtered.
                && !args.select.is_any()
                // A dry run on the client consists of the list alone.
                && args.stop.dry_run != DryRun::Client
                && error.api_error().is_some_and(ApiError::is_rbac) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Asks the user to confirm the deletion of sessions that they may not list.
fn confirm_unlisted(scope: &Scope, stop: &StopOptions, console: &mut Console<'_>) -> bool {
    if stop.dry_run != DryRun::None || stop.yes || !(stop.interactive || console.is_interactive()) {
        return true;
    }
    let text = format!(
        "You are about to delete all sessions in namespace \"{}\", which you may not list.\n",
        scope.namespace().unwrap_or_default()
    );
    let is_confirmed = console.confirm(&text, "Do you want to continue?");
    if !is_confirmed {
        console.say("deletion is cancelled");
    }
    is_confirmed
}

/// Deletes all sessions of mirrord's operator in the cluster, its only collection.
async fn delete_all_of_operator(
    server: &Server,
    sessions: &[Session],
    deletion: &DeleteOptions<'_>,
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    server.delete_all_operator_sessions(deletion).await?;
    let lines =
        sessions.iter().map(|session| deleted_line(&session.id(), &session.namespace, stop));
    console.print(&lines.collect::<String>())
}

/// Deletes the sessions of a namespace as a collection, since they can't be listed.
async fn delete_unlisted(
    server: &Server,
    namespace: &str,
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let Some(deletion) = deletion(stop) else {
        return Ok(());
    };
    match server.delete_all(namespace, &deletion).await {
        Ok(Some(deleted)) => {
            report_deleted(server, namespace, &deleted, &deletion, stop, console).await
        }
        Ok(None) => console.print(&format!(
            "all {}s deleted from {} namespace\n",
            kind_name(),
            visible(namespace)
        )),
        // The server deletes one session after the other and stops at the first denial. An RBAC
        // denial means that it has deleted none.
        Err(error) if !error.is_fatal() && !error.api_error().is_some_and(ApiError::is_rbac) => {
            console.say(&error.to_string());
            console.say(&format!(
                "Not all sessions of namespace \"{namespace}\" were deleted, and you may not list the remaining ones: delete them by ID, as in \"kubectl mirrord-sessions delete ID\""
            ));
            Err(Error::Reported)
        }
        Err(error) => Err(error),
    }
}

/// Reports the sessions that the server has deleted, and waits until they are shown as ended.
async fn report_deleted(
    server: &Server,
    namespace: &str,
    deleted: &[Value],
    deletion: &DeleteOptions<'_>,
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut deleted: Vec<(Session, &Value)> =
        deleted.iter().map(|object| (Session::from_object(object), object)).collect();
    deleted.sort_by(|(left, _), (right, _)| left.order(right));
    let mut failed = false;
    let mut ended = Vec::new();
    for (session, object) in deleted {
        let id = session.id();
        match check_finalizers(object, namespace, &id) {
            Err(error) if deletion.effect == Effect::Real => {
                failed = true;
                console.say(&error.to_string());
            }
            _ => {
                console.print(&deleted_line(&id, namespace, stop))?;
                ended.push(DeleteTarget {
                    namespace: namespace.to_owned(),
                    ..DeleteTarget::from_session(&session)
                });
            }
        }
    }
    let waited = wait_until_ended(server, &ended, stop, console).await;
    if failed { Err(Error::Reported) } else { waited }
}
