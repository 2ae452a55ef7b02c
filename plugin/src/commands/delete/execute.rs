//! The loop that deletes sessions, shared by `delete`, `kill` and `kill-all`.

use mirrord_sessions_crds::SessionId;

use super::{target::DeleteTarget, wait::wait_until_ended};
use crate::{
    cli::stop::{DryRun, StopOptions},
    console::Console,
    error::Error,
    render::escape::visible,
    server::{DeleteOptions, Effect, Server},
    session::kind_name,
};

/// The source of the sessions to delete, which determines the meaning of a missing one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::commands) enum Origin {
    /// The command line names them: a missing session is an error, unless it is ignored.
    /// `some_failed` is set if the resolution of an ID has failed already.
    Named { ignore_not_found: bool, some_failed: bool },
    /// A list contained them: a missing session has ended meanwhile.
    Listed,
}

/// Deletes sessions one after the other, and waits until they are shown as ended.
///
/// A session that is not deleted does not stop the loop, unless every further request would fail in
/// the same way.
pub(in crate::commands) async fn delete_all(
    server: &Server,
    targets: &[DeleteTarget],
    origin: Origin,
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut failed = matches!(origin, Origin::Named { some_failed: true, .. });
    let mut deleted = Vec::new();
    for (n, target) in targets.iter().enumerate() {
        match delete_one(server, target, origin, stop).await {
            Ok(target) => {
                console.print(&deleted_line(&target.id, &target.namespace, stop))?;
                deleted.push(target);
            }
            Err(error) if error.is_fatal() => {
                if targets.len() > 1 || origin == Origin::Listed {
                    report_not_deleted(&targets[n..], console);
                }
                return Err(error);
            }
            Err(error) => match origin {
                Origin::Named { ignore_not_found: true, .. } if error.is_not_found() => {}
                // The uid is a precondition: on a conflict, another session has the name now.
                Origin::Listed
                    if error.is_not_found() || error.is_conflict() && target.uid.is_some() =>
                {
                    console.say(&format!("{} \"{}\" had ended already", kind_name(), target.id));
                }
                _ => {
                    failed = true;
                    console.say(&error.to_string());
                }
            },
        }
    }
    let waited = wait_until_ended(server, &deleted, stop, console).await;
    if failed { Err(Error::Reported) } else { waited }
}

/// Deletes one session, or does the part of it that a dry run leaves.
async fn delete_one(
    server: &Server,
    target: &DeleteTarget,
    origin: Origin,
    stop: &StopOptions,
) -> Result<DeleteTarget, Error> {
    let DeleteTarget { namespace, id, uid } = target;
    let Some(deletion) = deletion(stop) else {
        // A listed session exists.
        if origin != Origin::Listed {
            server.session(namespace, id).await?;
        }
        return Ok(target.clone());
    };
    let deletion = DeleteOptions { uid: uid.as_deref(), ..deletion };
    let deleted_uid = server.delete(namespace, id, &deletion).await?;
    Ok(DeleteTarget { uid: deleted_uid.or_else(|| uid.clone()), ..target.clone() })
}

/// Returns the request to the server, or nothing for a dry run on the client.
pub(in crate::commands) fn deletion(stop: &StopOptions) -> Option<DeleteOptions<'static>> {
    let effect = match stop.dry_run {
        DryRun::None => Effect::Real,
        DryRun::Server => Effect::DryRun,
        DryRun::Client => return None,
    };
    Some(DeleteOptions { effect, grace_period: grace_period(stop), uid: None })
}

/// Returns the grace period in seconds by kubectl's rules, or nothing for the server's default.
pub(super) fn grace_period(stop: &StopOptions) -> Option<i64> {
    match stop.grace_period {
        _ if stop.now => Some(1),
        // kubectl requires --force for 0, and uses 1 without it.
        0 if !stop.force => Some(1),
        ..0 => stop.force.then_some(0),
        seconds => Some(seconds),
    }
}

/// Returns kubectl's line about a deleted object.
pub(in crate::commands) fn deleted_line(
    id: &SessionId,
    namespace: &str,
    stop: &StopOptions,
) -> String {
    if stop.output.as_deref() == Some("name") {
        return format!("{}/{}\n", kind_name(), visible(id.name()));
    }
    let dry_run = match stop.dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let deleted = if grace_period(stop) == Some(0) { "force deleted" } else { "deleted" };
    let from = match namespace {
        "" => String::new(),
        name => format!(" from {} namespace", visible(name)),
    };
    format!("{} \"{}\" {deleted}{from}{dry_run}\n", kind_name(), visible(&id.to_string()))
}

/// Names the sessions that remain after a fatal error.
fn report_not_deleted(targets: &[DeleteTarget], console: &mut Console<'_>) {
    let ids: Vec<String> = targets.iter().map(|target| target.id.to_string()).collect();
    console.say(&format!("Not deleted: {}", ids.join(", ")));
}
