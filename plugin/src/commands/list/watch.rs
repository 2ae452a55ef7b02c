//! `list --watch`: prints changes as they happen.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{sleep, timeout_at};

use super::printer::Printer;
use crate::{
    console::Console,
    error::Error,
    filter::{ConcurrentSessions, Filter},
    render::sort::SortBy,
    server::{EventType, ListOptions, Server, WatchEvent},
    session::Session,
};

/// Delay before a watch is restarted that ended without an event or whose version expired.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The treatment of the sessions that exist when the watch begins.
#[derive(Clone, Copy)]
pub(super) enum InitialList<'a> {
    /// Prints changes without a list.
    Hidden,
    /// Prints the sessions first, in this order if there is one.
    Shown(Option<&'a SortBy>),
}

impl<'a> InitialList<'a> {
    pub(super) fn new(only_changes: bool, sort: Option<&'a SortBy>) -> Self {
        if only_changes { Self::Hidden } else { Self::Shown(sort) }
    }
}

/// Prints the initial list, then each change, until the command is interrupted or a watch reaches
/// the time limit of requests.
pub(super) async fn run(
    server: &Server,
    listing: &ListOptions,
    filter: &Filter,
    initial: InitialList<'_>,
    printer: Printer,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut view = View { printer, filter, printed: BTreeMap::new() };
    let mut version = view.list(server, listing, initial, console).await?;
    // Like kubectl, ends with success. A watch that the server ends early is the same one to the user.
    let deadline = server.request_deadline();
    let has_timed_out = || deadline.is_some_and(|deadline| deadline <= Instant::now());
    loop {
        let mut watch = match server.watch(listing, &version).await {
            Ok(watch) => watch,
            Err(error) if is_expired(&error) => {
                sleep(RESTART_DELAY).await;
                version = view.list(server, listing, InitialList::Shown(None), console).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut idle = true;
        let ended = loop {
            let event = match until(deadline, watch.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            idle = false;
            match event {
                WatchEvent::Bookmark(at) => version = at,
                WatchEvent::Object(change, item) => {
                    if let Some(at) = text(&item, "/metadata/resourceVersion") {
                        at.clone_into(&mut version);
                    }
                    view.apply(change, &item, console)?;
                }
            }
            if console.is_closed() {
                return Ok(());
            }
        };
        if ended.is_ok() && has_timed_out() {
            return Ok(());
        }
        match ended {
            Ok(()) if idle => sleep(RESTART_DELAY).await,
            Ok(()) => {}
            Err(error) if is_expired(&error) => {
                sleep(RESTART_DELAY).await;
                version = view.list(server, listing, InitialList::Shown(None), console).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns the next event, or the end of the watch at the deadline.
async fn until(
    deadline: Option<Instant>,
    next: impl Future<Output = Result<Option<WatchEvent>, Error>>,
) -> Result<Option<WatchEvent>, Error> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), next).await.unwrap_or(Ok(None)),
        None => next.await,
    }
}

/// Returns whether the resource version of the watch has expired.
fn is_expired(error: &Error) -> bool {
    error.api_error().is_some_and(|api_error| api_error.status.code == 410)
}

/// The sessions that were printed.
struct View<'a> {
    printer: Printer,
    filter: &'a Filter,
    /// The printed sessions by namespace and name.
    printed: BTreeMap<(String, String), Value>,
}

impl View<'_> {
    /// Lists the sessions, prints the differences from the printed ones, and returns the version of
    /// the list.
    async fn list(
        &mut self,
        server: &Server,
        listing: &ListOptions,
        initial: InitialList<'_>,
        console: &mut Console<'_>,
    ) -> Result<String, Error> {
        let mut pages = server.list(listing).await?;
        let mut listed = self.filter.retain(pages.collect().await?);
        if let InitialList::Shown(Some(sort)) = initial {
            sort.sort(&mut listed)?;
        }
        let concurrent = self.concurrent(&listed);
        let now = Timestamp::now();
        let mut removed = std::mem::take(&mut self.printed);
        let mut text = String::new();
        for item in listed {
            let key = key(&item);
            let previous = removed.remove(&key);
            let prints = matches!(initial, InitialList::Shown(_));
            if prints && previous.as_ref().is_none_or(|previous| is_changed(previous, &item)) {
                let change =
                    if previous.is_some() { EventType::Modified } else { EventType::Added };
                text.push_str(&self.printer.changed(change, &item, &concurrent, now)?);
            }
            self.printed.insert(key, item);
        }
        for item in removed.values() {
            text.push_str(&self.printer.changed(EventType::Deleted, item, &concurrent, now)?);
        }
        console.print(&text)?;
        Ok(pages.resource_version().to_owned())
    }

    /// Returns the concurrent sessions by target, if they are shown.
    fn concurrent<'b>(&self, items: impl IntoIterator<Item = &'b Value>) -> ConcurrentSessions {
        if !self.printer.shows_others() {
            return ConcurrentSessions::default();
        }
        let sessions: Vec<Session> = items.into_iter().map(Session::from_object).collect();
        ConcurrentSessions::new(&sessions)
    }

    fn apply(
        &mut self,
        change: EventType,
        item: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let key = key(item);
        let shows = self.filter.shows(&Session::from_object(item));
        let was_shown = self.printed.contains_key(&key);
        if change == EventType::Deleted || !shows {
            self.printed.remove(&key);
        } else {
            self.printed.insert(key, item.clone());
        }
        let change = match (was_shown, shows) {
            _ if change == EventType::Deleted => change,
            (true, false) => EventType::Deleted,
            (true, true) => EventType::Modified,
            (false, _) => EventType::Added,
        };
        // Print a session that leaves the list once more, as kubectl prints deleted objects.
        if shows || was_shown {
            let concurrent = self.concurrent(self.printed.values());
            let text = self.printer.changed(change, item, &concurrent, Timestamp::now())?;
            console.print(&text)?;
        }
        Ok(())
    }
}

fn is_changed(left: &Value, right: &Value) -> bool {
    let version = |item| text(item, "/metadata/resourceVersion").map(ToOwned::to_owned);
    version(left) != version(right)
}

fn key(item: &Value) -> (String, String) {
    let part = |pointer| text(item, pointer).unwrap_or_default().to_owned();
    (part("/metadata/namespace"), part("/metadata/name"))
}

fn text<'a>(item: &'a Value, pointer: &str) -> Option<&'a str> {
    item.pointer(pointer)?.as_str()
}
