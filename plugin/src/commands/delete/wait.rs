//! Waiting until deleted sessions are shown as ended.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::target::DeleteTarget;
use crate::{
    cli::stop::{DryRun, StopOptions},
    console::Console,
    error::Error,
    server::{EventType, ListOptions, Scope, Server, Source, WatchEvent},
    session::Session,
};

/// Time to wait without `--timeout`. The wait takes milliseconds as a rule.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// Delay before a watch that the server ended is restarted.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// Waits until all of these sessions are shown as ended.
///
/// Like kubectl, returns at once if the requester may not watch them.
pub(in crate::commands) async fn wait_until_ended(
    server: &Server,
    deleted: &[DeleteTarget],
    stop: &StopOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let is_real = stop.wait && stop.dry_run == DryRun::None;
    if !is_real || deleted.is_empty() || !is_eventual(server.discover().await?.source) {
        return Ok(());
    }
    let limit = Some(stop.timeout).filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT_TIMEOUT);
    // A timeout beyond the range of the clock means no deadline.
    let deadline = Instant::now().checked_add(limit);
    let mut failed = false;
    for (namespace, sessions) in by_namespace(deleted) {
        let mut pending = Pending::new(&sessions);
        let ended = pending.until_empty(server, namespace);
        let ended = match deadline {
            Some(deadline) => timeout_at(deadline, ended).await,
            None => Ok(ended.await),
        };
        match ended {
            Ok(Err(error))
                if error.api_error().is_some_and(|api_error| api_error.status.code == 403) => {}
            Ok(ended) => ended?,
            Err(_) => {
                failed = true;
                for id in pending.0.keys() {
                    console.say(&format!(
                        "error: timed out waiting for the condition on sessions/{id}"
                    ));
                }
            }
        }
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}

/// Groups targets by namespace.
fn by_namespace(targets: &[DeleteTarget]) -> BTreeMap<&str, Vec<&DeleteTarget>> {
    let mut namespaces: BTreeMap<&str, Vec<&DeleteTarget>> = BTreeMap::new();
    for target in targets {
        namespaces.entry(&target.namespace).or_default().push(target);
    }
    namespaces
}

/// Returns whether a source may show a session for a moment after its deletion.
fn is_eventual(source: Source) -> bool {
    // A Session is gone when the API server has responded. Trackers follow its watch.
    source == Source::Trackers
}

/// The sessions that are still shown as live, by name, with their uids if known.
struct Pending(BTreeMap<String, Option<String>>);

impl Pending {
    fn new(targets: &[&DeleteTarget]) -> Self {
        let entry = |target: &&DeleteTarget| (target.id.name().to_owned(), target.uid.clone());
        Self(targets.iter().map(entry).collect())
    }

    async fn until_empty(&mut self, server: &Server, namespace: &str) -> Result<(), Error> {
        let scope = Scope::Namespace(namespace.to_owned());
        loop {
            let mut names = self.0.keys();
            let listing = match (names.next(), names.next()) {
                (Some(name), None) => ListOptions::by_name(scope.clone(), name),
                _ => ListOptions::in_scope(scope.clone()),
            };
            let mut pages = server.list(&listing).await?;
            let listed = pages.collect().await?;
            self.retain_live(&listed);
            if self.0.is_empty() {
                return Ok(());
            }
            match self.watch(server, &listing, pages.resource_version()).await {
                // The server ended the watch: delay the next, in case it ends every watch at once.
                Ok(()) if !self.0.is_empty() => sleep(RESTART_DELAY).await,
                // The version expired: list again.
                Err(error)
                    if error.api_error().is_some_and(|api_error| api_error.status.code == 410) =>
                {
                    sleep(RESTART_DELAY).await;
                }
                other => return other,
            }
        }
    }

    async fn watch(
        &mut self,
        server: &Server,
        listing: &ListOptions,
        version: &str,
    ) -> Result<(), Error> {
        let mut watch = server.watch(listing, version).await?;
        while let Some(event) = watch.next().await? {
            if let WatchEvent::Object(change, item) = event {
                self.apply(change, &item);
            }
            if self.0.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes the sessions that a list does not contain as live.
    fn retain_live(&mut self, listed: &[Value]) {
        let listed: Vec<Session> = listed.iter().map(Session::from_object).collect();
        self.0.retain(|name, uid| {
            listed.iter().any(|session| session.name == *name && is_live(session, uid.as_deref()))
        });
    }

    fn apply(&mut self, change: EventType, item: &Value) {
        let session = Session::from_object(item);
        let pending = self.0.get(&session.name);
        let has_ended = match pending {
            Some(uid) => change == EventType::Deleted || !is_live(&session, uid.as_deref()),
            None => false,
        };
        if has_ended {
            self.0.remove(&session.name);
        }
    }
}

/// Returns whether the session is live and has this uid.
fn is_live(session: &Session, uid: Option<&str>) -> bool {
    !session.is_over() && uid.is_none_or(|uid| session.uid.as_deref() == Some(uid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tracker(name: &str, uid: &str, state: &str) -> Value {
        json!({ "metadata": { "name": name, "uid": uid }, "status": { "state": state } })
    }

    fn pending() -> Pending {
        let pairs = [("a", Some("1")), ("b", None)];
        Pending(
            pairs
                .into_iter()
                .map(|(name, uid)| (name.to_owned(), uid.map(ToOwned::to_owned)))
                .collect(),
        )
    }

    fn names(pending: &Pending) -> Vec<&str> {
        pending.0.keys().map(String::as_str).collect()
    }

    #[test]
    fn retains_live_sessions_of_a_list() {
        let cases = [
            (vec![], vec![]),
            (vec![tracker("a", "1", "running"), tracker("b", "2", "running")], vec!["a", "b"]),
            (vec![tracker("a", "1", "terminated"), tracker("b", "2", "running")], vec!["b"]),
            // Another session with the same name.
            (vec![tracker("a", "9", "running")], vec![]),
            (vec![tracker("c", "1", "running")], vec![]),
        ];
        for (listed, expected) in cases {
            let mut pending = pending();
            pending.retain_live(&listed);
            assert_eq!(names(&pending), expected, "{listed:?}");
        }
    }

    #[test]
    fn removes_ended_sessions_by_events() {
        let cases = [
            (EventType::Deleted, tracker("a", "1", "running"), vec!["b"]),
            (EventType::Modified, tracker("a", "1", "terminated"), vec!["b"]),
            (EventType::Modified, tracker("a", "1", "running"), vec!["a", "b"]),
            (EventType::Added, tracker("a", "2", "pending"), vec!["b"]),
            (EventType::Deleted, tracker("c", "1", "running"), vec!["a", "b"]),
        ];
        for (change, item, expected) in cases {
            let mut pending = pending();
            pending.apply(change, &item);
            assert_eq!(names(&pending), expected, "{change:?} {item}");
        }
    }
}
