//! `delete` and `kill`.

use mirrord_sessions_crds::SessionId;

use super::once;
use crate::{
    cli::stop::{DryRun, SharedDeleteArgs},
    console::Console,
    error::Error,
    server::{Effect, Server},
    session::{Session, kind_name},
};

pub(super) async fn run(
    server: &Server,
    ids: &[SessionId],
    args: SharedDeleteArgs,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let ids = once(ids);
    let mut failed = false;
    for (n, id) in ids.iter().enumerate() {
        match delete(server, id, args).await {
            Ok(namespace) => console.print(&done(id, &namespace, args.stop.dry_run))?,
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) if error.is_fatal() => {
                // Every further request would meet the same.
                if ids.len() > 1 {
                    say_not_deleted(&ids[n..], console);
                }
                return Err(error);
            }
            Err(error) => {
                failed = true;
                console.say(&error.to_string());
            }
        }
    }
    if failed { Err(Error::Told) } else { Ok(()) }
}

/// Deletes a session, or tries to; answers its namespace.
async fn delete(server: &Server, id: &SessionId, args: SharedDeleteArgs) -> Result<String, Error> {
    let namespace = if args.everywhere.all_namespaces {
        find(server, id).await?
    } else {
        server.namespace().to_owned()
    };
    one(server, &namespace, id, args.stop.dry_run).await?;
    Ok(namespace)
}

/// Deletes one session, or does what the dry run leaves of it.
pub(super) async fn one(
    server: &Server,
    namespace: &str,
    id: &SessionId,
    dry_run: DryRun,
) -> Result<(), Error> {
    match dry_run {
        DryRun::None => server.delete(namespace, id, Effect::Real).await,
        DryRun::Server => server.delete(namespace, id, Effect::DryRun).await,
        DryRun::Client => server.session(namespace, id).await.map(|_| ()),
    }
}

/// The namespace of the session.
async fn find(server: &Server, id: &SessionId) -> Result<String, Error> {
    let found = server.find(id).await?;
    let namespaces: Vec<String> = found
        .iter()
        .map(|item| Session::of_object(item).namespace)
        .collect();
    match namespaces.as_slice() {
        [namespace] => Ok(namespace.clone()),
        several => Err(Error::Ambiguous {
            id: id.clone(),
            namespaces: several.join(", "),
        }),
    }
}

/// What kubectl says of an object that it deleted.
pub(super) fn done(id: &SessionId, namespace: &str, dry_run: DryRun) -> String {
    let how = match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    format!(
        "{} \"{id}\" deleted from {namespace} namespace{how}\n",
        kind_name()
    )
}

/// Names what is left over when it makes no sense to go on.
pub(super) fn say_not_deleted(ids: &[&SessionId], console: &mut Console<'_>) {
    if !ids.is_empty() {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        console.say(&format!("Not deleted: {}", ids.join(", ")));
    }
}
