//! `kill-all`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use super::{
    delete::{done, one, say_not_deleted},
    list::plain,
    nothing_found, scope,
};
use crate::{
    cli::stop::{DryRun, KillAllArgs},
    console::Console,
    error::{Error, Refusal},
    server::{Effect, Scope, Server, gone},
    session::{Session, kind_name},
};

/// What is known to be there; `None` if the requester may not list it.
type Listed = Option<Vec<Session>>;

pub(super) async fn run(
    server: &Server,
    args: KillAllArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let scope = scope(server, args.everywhere);
    let listed = list(server, &scope, args.stop.dry_run).await?;
    if listed.as_ref().is_some_and(Vec::is_empty) {
        console.say(&nothing_found(&scope));
        return Ok(());
    }
    let dry_run = args.stop.dry_run;
    if dry_run == DryRun::None && !args.yes && console.is_interactive() {
        let warning = warning(listed.as_deref(), &scope, now);
        if !console.confirm(&warning, "Do you want to continue?") {
            console.say("deletion is cancelled");
            return Ok(());
        }
    }
    let mut failed = false;
    let mut namespaces = by_namespace(&scope, listed).into_iter();
    while let Some((namespace, listed)) = namespaces.next() {
        let work = Work {
            server,
            namespace: &namespace,
            dry_run,
        };
        match work.delete_all(listed.as_deref(), console).await {
            Ok(()) => {}
            Err(Error::Told) => failed = true,
            Err(error) if error.is_fatal() => {
                not_deleted(
                    namespaces.filter_map(|(_, listed)| listed).flatten(),
                    console,
                );
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

/// Names what is left over when it makes no sense to go on.
fn not_deleted(sessions: impl IntoIterator<Item = Session>, console: &mut Console<'_>) {
    let ids: Vec<SessionId> = sessions.into_iter().map(|session| session.id()).collect();
    say_not_deleted(&ids.iter().collect::<Vec<_>>(), console);
}

/// What is there. mirrord's users may delete sessions without being allowed to list them, which must
/// not be in the way as long as the namespace is known.
async fn list(server: &Server, scope: &Scope, dry_run: DryRun) -> Result<Listed, Error> {
    match server.sessions(scope, None).await {
        Ok(items) => {
            let mut sessions: Vec<Session> = items.iter().map(Session::of_object).collect();
            sessions.sort_by(Session::order);
            Ok(Some(sessions))
        }
        Err(error)
            if *scope != Scope::All
                // A dry run on the client's side is nothing but the list.
                && dry_run != DryRun::Client
                && error.refusal().is_some_and(Refusal::is_rbac) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What the person is told before being asked.
fn warning(listed: Option<&[Session]>, scope: &Scope, now: Timestamp) -> String {
    match listed {
        Some(sessions) => format!(
            "You are about to delete the following {} session{}:\n{}",
            sessions.len(),
            if sessions.len() == 1 { "" } else { "s" },
            plain(sessions, scope, false, now)
        ),
        None => format!(
            "You are about to delete all sessions in namespace \"{}\", which you may not list.\n",
            scope.namespace().unwrap_or_default()
        ),
    }
}

fn by_namespace(scope: &Scope, listed: Listed) -> BTreeMap<String, Listed> {
    let mut namespaces: BTreeMap<String, Listed> = BTreeMap::new();
    match (scope, listed) {
        (Scope::Namespace(name), listed) => {
            namespaces.insert(name.clone(), listed);
        }
        (Scope::All, listed) => {
            for session in listed.unwrap_or_default() {
                namespaces
                    .entry(session.namespace.clone())
                    .or_default()
                    .get_or_insert_default()
                    .push(session);
            }
        }
    }
    namespaces
}

/// All the sessions of one namespace.
struct Work<'a> {
    server: &'a Server,
    namespace: &'a str,
    dry_run: DryRun,
}

impl Work<'_> {
    async fn delete_all(
        &self,
        listed: Option<&[Session]>,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let effect = match self.dry_run {
            DryRun::None => Effect::Real,
            DryRun::Server => Effect::DryRun,
            DryRun::Client => {
                return self
                    .one_by_one(listed.unwrap_or_default(), false, console)
                    .await;
            }
        };
        match self.server.delete_all(self.namespace, effect).await {
            Ok(Some(deleted)) => {
                // What the server says is what happened: sessions may have come and gone since the
                // list.
                let mut deleted: Vec<(Session, &Value)> = deleted
                    .iter()
                    .map(|object| (Session::of_object(object), object))
                    .collect();
                deleted.sort_by(|(one, _), (other, _)| one.order(other));
                let mut failed = false;
                for (session, object) in deleted {
                    let id = session.id();
                    match gone(object, self.namespace, &id) {
                        Err(error) if effect == Effect::Real => {
                            failed = true;
                            console.say(&error.to_string());
                        }
                        _ => console.print(&done(&id, self.namespace, self.dry_run))?,
                    }
                }
                if failed { Err(Error::Told) } else { Ok(()) }
            }
            Ok(None) => {
                let text = match listed {
                    Some(sessions) => sessions
                        .iter()
                        .map(|session| done(&session.id(), self.namespace, self.dry_run))
                        .collect(),
                    None => format!(
                        "all {}s deleted from {} namespace\n",
                        kind_name(),
                        self.namespace
                    ),
                };
                console.print(&text)
            }
            Err(error) => match listed {
                Some(sessions) if !error.is_fatal() && !error.is_not_found() => {
                    // The server deletes one after the other and stops at the first that it refuses;
                    // without the right to delete collections it hasn't begun.
                    let begun =
                        effect == Effect::Real && !error.refusal().is_some_and(Refusal::is_rbac);
                    self.one_by_one(sessions, begun, console).await
                }
                None if !error.is_fatal() && !error.refusal().is_some_and(Refusal::is_rbac) => {
                    console.say(&error.to_string());
                    console.say(&format!(
                        "Not all sessions of namespace \"{}\" were deleted, and you may not list those that are left: name them, as in \"kubectl mirrord-sessions delete ID\"",
                        self.namespace
                    ));
                    Err(Error::Told)
                }
                _ => {
                    not_deleted(listed.unwrap_or_default().iter().cloned(), console);
                    Err(error)
                }
            },
        }
    }

    /// `begun` says that a session that is gone by now has been deleted on our behalf.
    async fn one_by_one(
        &self,
        sessions: &[Session],
        begun: bool,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let mut failed = false;
        for (n, session) in sessions.iter().enumerate() {
            let id = session.id();
            match one(self.server, self.namespace, &id, self.dry_run).await {
                Ok(()) => console.print(&done(&id, self.namespace, self.dry_run))?,
                Err(error) if error.is_not_found() && begun => {
                    console.print(&done(&id, self.namespace, self.dry_run))?;
                }
                Err(error) if error.is_not_found() => {
                    console.say(&format!("{} \"{id}\" had ended already", kind_name()));
                }
                Err(error) if error.is_fatal() => {
                    not_deleted(sessions[n..].iter().cloned(), console);
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
}
