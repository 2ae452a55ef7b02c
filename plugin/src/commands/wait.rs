//! Waiting until sessions that were stopped are shown as over.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::delete::{Doomed, by_namespace, lingers};
use crate::{
    cli::stop::{DryRun, Stop},
    console::Console,
    error::Error,
    server::{Change, Event, Listing, Scope, Server},
    session::Session,
};

/// How long to wait where nobody says: what is waited for takes milliseconds.
const LONG: Duration = Duration::from_mins(1);
/// How long to pause before a server that ended a watch is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until none of these sessions is shown as alive. Who may not look doesn't wait, as with
/// kubectl.
pub(super) async fn until_over(
    server: &Server,
    gone: &[Doomed],
    stop: &Stop,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let is_real = stop.wait && stop.dry_run == DryRun::None;
    if !is_real || gone.is_empty() || !lingers(server.source().await?.source) {
        return Ok(());
    }
    let long = Some(stop.timeout).filter(|timeout| !timeout.is_zero()).unwrap_or(LONG);
    // Longer than a clock can tell is forever.
    let end = Instant::now().checked_add(long);
    let mut failed = false;
    for (namespace, sessions) in by_namespace(gone) {
        let mut left = Left::of(&sessions);
        let over = left.until_empty(server, namespace);
        let over = match end {
            Some(end) => timeout_at(end, over).await,
            None => Ok(over.await),
        };
        match over {
            Ok(Err(error))
                if error.refusal().is_some_and(|refusal| refusal.failure.code == 403) => {}
            Ok(over) => over?,
            Err(_) => {
                failed = true;
                for id in left.0.keys() {
                    console.say(&format!(
                        "error: timed out waiting for the condition on sessions/{id}"
                    ));
                }
            }
        }
    }
    if failed { Err(Error::Told) } else { Ok(()) }
}

/// What is waited for, by name, with its uid if it is known.
struct Left(BTreeMap<String, Option<String>>);

impl Left {
    fn of(sessions: &[&Doomed]) -> Self {
        let named = |doomed: &&Doomed| (doomed.id.name().to_owned(), doomed.uid.clone());
        Self(sessions.iter().map(named).collect())
    }

    async fn until_empty(&mut self, server: &Server, namespace: &str) -> Result<(), Error> {
        let scope = Scope::Namespace(namespace.to_owned());
        loop {
            let mut names = self.0.keys();
            let listing = match (names.next(), names.next()) {
                (Some(name), None) => Listing::named(scope.clone(), name),
                _ => Listing::of(scope.clone()),
            };
            let mut pages = server.listing(&listing).await?;
            let there = pages.all().await?;
            self.only(&there);
            if self.0.is_empty() {
                return Ok(());
            }
            match self.watch(server, &listing, pages.version()).await {
                // The server ended it: not to be asked again at once, in case it ends every one.
                Ok(()) if !self.0.is_empty() => sleep(PAUSE).await,
                // It fell behind: a list of everything follows.
                Err(error)
                    if error.refusal().is_some_and(|refusal| refusal.failure.code == 410) =>
                {
                    sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn watch(
        &mut self,
        server: &Server,
        listing: &Listing,
        version: &str,
    ) -> Result<(), Error> {
        let mut watch = server.watch(listing, version).await?;
        while let Some(event) = watch.next().await? {
            if let Event::Object(change, item) = event {
                self.changed(change, &item);
            }
            if self.0.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Of what is waited for, only what is among these is left.
    fn only(&mut self, there: &[Value]) {
        let there: Vec<Session> = there.iter().map(Session::of_object).collect();
        self.0.retain(|name, uid| {
            there.iter().any(|session| session.name == *name && is(session, uid.as_deref()))
        });
    }

    fn changed(&mut self, change: Change, item: &Value) {
        let session = Session::of_object(item);
        let awaited = self.0.get(&session.name);
        let over = match awaited {
            Some(uid) => change == Change::Deleted || !is(&session, uid.as_deref()),
            None => false,
        };
        if over {
            self.0.remove(&session.name);
        }
    }
}

/// Whether the session is alive, and the one of this uid.
fn is(session: &Session, uid: Option<&str>) -> bool {
    !session.is_over() && uid.is_none_or(|uid| session.uid.as_deref() == Some(uid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tracker(name: &str, uid: &str, state: &str) -> Value {
        json!({ "metadata": { "name": name, "uid": uid }, "status": { "state": state } })
    }

    fn left() -> Left {
        let pairs = [("a", Some("1")), ("b", None)];
        Left(
            pairs
                .into_iter()
                .map(|(name, uid)| (name.to_owned(), uid.map(ToOwned::to_owned)))
                .collect(),
        )
    }

    fn names(left: &Left) -> Vec<&str> {
        left.0.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_list_tells_what_is_left() {
        let cases = [
            (vec![], vec![]),
            (vec![tracker("a", "1", "running"), tracker("b", "2", "running")], vec!["a", "b"]),
            (vec![tracker("a", "1", "terminated"), tracker("b", "2", "running")], vec!["b"]),
            // Another session of that name.
            (vec![tracker("a", "9", "running")], vec![]),
            (vec![tracker("c", "1", "running")], vec![]),
        ];
        for (there, expected) in cases {
            let mut left = left();
            left.only(&there);
            assert_eq!(names(&left), expected, "{there:?}");
        }
    }

    #[test]
    fn events_tell_what_is_left() {
        let cases = [
            (Change::Deleted, tracker("a", "1", "running"), vec!["b"]),
            (Change::Modified, tracker("a", "1", "terminated"), vec!["b"]),
            (Change::Modified, tracker("a", "1", "running"), vec!["a", "b"]),
            (Change::Added, tracker("a", "2", "pending"), vec!["b"]),
            (Change::Deleted, tracker("c", "1", "running"), vec!["a", "b"]),
        ];
        for (change, item, expected) in cases {
            let mut left = left();
            left.changed(change, &item);
            assert_eq!(names(&left), expected, "{change:?} {item}");
        }
    }
}
