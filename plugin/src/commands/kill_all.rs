//! `kill-all`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use super::{
    choose::{choose, chosen, source},
    delete::{Doomed, check_stop, confirmed, deletion, done, each, say_not_deleted},
    nothing_found, scope,
    wait::until_over,
};
use crate::{
    cli::stop::{DryRun, KillAllArgs, Stop},
    console::Console,
    error::{Error, Refusal},
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
    let listed = list(server, &scope, args).await?;
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
    match listed {
        Some(sessions) if args.select.is_any() => {
            return each(server, &sessions, false, &args.stop, console).await;
        }
        Some(sessions) if source == Source::Operator => {
            return operators(server, &sessions, &scope, &args.stop, console).await;
        }
        listed => all(server, &scope, listed, &args.stop, console).await,
    }
}

/// What is there. mirrord's users may delete sessions without being allowed to list them, which must
/// not be in the way as long as the namespace is known.
async fn list(server: &Server, scope: &Scope, args: &KillAllArgs) -> Result<Listed, Error> {
    let (listing, filter) = choose(server, scope.clone(), &args.select, false).await?;
    match chosen(server, &listing, &filter).await {
        Ok(sessions) => Ok(Some(sessions)),
        Err(error)
            if *scope != Scope::All
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
    if stop.dry_run != DryRun::None || stop.yes || !console.is_interactive() {
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

/// Ends sessions of mirrord's operator, which knows no smaller collection than all of the cluster.
async fn operators(
    server: &Server,
    sessions: &[Session],
    scope: &Scope,
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    match deletion(stop) {
        Some(how) if *scope == Scope::All => {
            server.end_all_operators(&how).await?;
            let lines = sessions
                .iter()
                .map(|session| done(&session.id(), &session.namespace, stop));
            console.print(&lines.collect::<String>())
        }
        _ => each(server, sessions, false, stop, console).await,
    }
}

async fn all(
    server: &Server,
    scope: &Scope,
    listed: Listed,
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut failed = false;
    let mut namespaces = by_namespace(scope, listed).into_iter();
    while let Some((namespace, listed)) = namespaces.next() {
        let work = Work {
            server,
            namespace: &namespace,
            stop,
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
    stop: &'a Stop,
}

impl Work<'_> {
    async fn delete_all(
        &self,
        listed: Option<&[Session]>,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let Some(how) = deletion(self.stop) else {
            return self
                .one_by_one(listed.unwrap_or_default(), false, console)
                .await;
        };
        match self.server.delete_all(self.namespace, &how).await {
            Ok(Some(deleted)) => self.deleted(&deleted, &how, console).await,
            Ok(None) => self.deleted_untold(listed, console).await,
            Err(error) => match listed {
                Some(sessions) if !error.is_fatal() && !error.is_not_found() => {
                    // The server deletes one after the other and stops at the first that it refuses;
                    // without the right to delete collections it hasn't begun.
                    let begun = how.effect == Effect::Real
                        && !error.refusal().is_some_and(Refusal::is_rbac);
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

    /// What the server says is what happened: sessions may have come and gone since the list.
    async fn deleted(
        &self,
        deleted: &[Value],
        how: &Deletion<'_>,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let mut deleted: Vec<(Session, &Value)> = deleted
            .iter()
            .map(|object| (Session::of_object(object), object))
            .collect();
        deleted.sort_by(|(one, _), (other, _)| one.order(other));
        let mut failed = false;
        let mut over = Vec::new();
        for (session, object) in deleted {
            let id = session.id();
            match gone(object, self.namespace, &id) {
                Err(error) if how.effect == Effect::Real => {
                    failed = true;
                    console.say(&error.to_string());
                }
                _ => {
                    console.print(&done(&id, self.namespace, self.stop))?;
                    over.push(Doomed {
                        namespace: self.namespace.to_owned(),
                        ..Doomed::of(&session)
                    });
                }
            }
        }
        let waited = until_over(self.server, &over, self.stop, console).await;
        if failed { Err(Error::Told) } else { waited }
    }

    /// The server only says that it has done it.
    async fn deleted_untold(
        &self,
        listed: Option<&[Session]>,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let Some(sessions) = listed else {
            return console.print(&format!(
                "all {}s deleted from {} namespace\n",
                kind_name(),
                self.namespace
            ));
        };
        let lines = sessions
            .iter()
            .map(|session| done(&session.id(), self.namespace, self.stop));
        console.print(&lines.collect::<String>())?;
        let over: Vec<Doomed> = sessions.iter().map(Doomed::of).collect();
        until_over(self.server, &over, self.stop, console).await
    }

    async fn one_by_one(
        &self,
        sessions: &[Session],
        begun: bool,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        each(self.server, sessions, begun, self.stop, console).await
    }
}
