//! `list --watch`: changes as they happen.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::list::{Printer, kept};
use crate::{
    console::Console,
    error::Error,
    filter::{Crowd, Filter},
    render::sort::SortBy,
    server::{Change, Event, Listing, Server},
    session::Session,
};

/// How long to pause before a server is asked again that ended a watch at once or has forgotten
/// what it is asked to go on from.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done with the sessions that are there when the watch begins.
#[derive(Clone, Copy)]
pub(super) enum First<'a> {
    /// They are not shown.
    Hidden,
    /// They are shown, by this order if there is one.
    Shown(Option<&'a SortBy>),
}

impl<'a> First<'a> {
    pub(super) fn of(only_changes: bool, sort: Option<&'a SortBy>) -> Self {
        if only_changes { Self::Hidden } else { Self::Shown(sort) }
    }
}

/// Prints what there is, unless only changes are asked for, then each change, until somebody ends
/// it.
pub(super) async fn run(
    server: &Server,
    listing: &Listing,
    filter: &Filter,
    first: First<'_>,
    printer: Printer,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut view = View { printer, filter, known: BTreeMap::new() };
    let mut version = view.list(server, listing, first, console).await?;
    loop {
        let mut watch = match server.watch(listing, &version).await {
            Ok(watch) => watch,
            Err(error) if is_behind(&error) => {
                sleep(PAUSE).await;
                version = view.list(server, listing, First::Shown(None), console).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut idle = true;
        let ended = loop {
            let event = match watch.next().await {
                Ok(Some(event)) => event,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            idle = false;
            match event {
                Event::Bookmark(at) => version = at,
                Event::Object(change, item) => {
                    if let Some(at) = text(&item, "/metadata/resourceVersion") {
                        at.clone_into(&mut version);
                    }
                    view.changed(change, &item, console)?;
                }
            }
            if console.is_closed() {
                return Ok(());
            }
        };
        match ended {
            Ok(()) if idle => sleep(PAUSE).await,
            Ok(()) => {}
            Err(error) if is_behind(&error) => {
                sleep(PAUSE).await;
                version = view.list(server, listing, First::Shown(None), console).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the server has forgotten what happened since.
fn is_behind(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.failure.code == 410)
}

/// What is shown so far.
struct View<'a> {
    printer: Printer,
    filter: &'a Filter,
    /// Sessions that were shown, by namespace and name.
    known: BTreeMap<(String, String), Value>,
}

impl View<'_> {
    /// Reads all there is and prints what isn't known, or is known otherwise; and what is gone.
    /// Answers the version of the list.
    async fn list(
        &mut self,
        server: &Server,
        listing: &Listing,
        first: First<'_>,
        console: &mut Console<'_>,
    ) -> Result<String, Error> {
        let mut pages = server.listing(listing).await?;
        let mut there = kept(pages.all().await?, self.filter);
        if let First::Shown(Some(sort)) = first {
            sort.sort(&mut there)?;
        }
        let crowd = self.crowd(&there);
        let now = Timestamp::now();
        let mut gone = std::mem::take(&mut self.known);
        let mut text = String::new();
        for item in there {
            let place = place(&item);
            let known = gone.remove(&place);
            let prints = matches!(first, First::Shown(_));
            if prints && known.as_ref().is_none_or(|known| differs(known, &item)) {
                let change = if known.is_some() { Change::Modified } else { Change::Added };
                text.push_str(&self.printer.changed(change, &item, &crowd, now)?);
            }
            self.known.insert(place, item);
        }
        for item in gone.values() {
            text.push_str(&self.printer.changed(Change::Deleted, item, &crowd, now)?);
        }
        console.print(&text)?;
        Ok(pages.version().to_owned())
    }

    /// Who is on which target, if that is shown.
    fn crowd<'b>(&self, items: impl IntoIterator<Item = &'b Value>) -> Crowd {
        if !self.printer.shows_others() {
            return Crowd::default();
        }
        let sessions: Vec<Session> = items.into_iter().map(Session::of_object).collect();
        Crowd::of(&sessions)
    }

    fn changed(
        &mut self,
        change: Change,
        item: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), Error> {
        let place = place(item);
        let shows = self.filter.shows(&Session::of_object(item));
        let was_shown = self.known.contains_key(&place);
        if change == Change::Deleted || !shows {
            self.known.remove(&place);
        } else {
            self.known.insert(place, item.clone());
        }
        let change = match (was_shown, shows) {
            _ if change == Change::Deleted => change,
            (true, false) => Change::Deleted,
            (true, true) => Change::Modified,
            (false, _) => Change::Added,
        };
        // What leaves the list is printed once more, as kubectl prints what was deleted.
        if shows || was_shown {
            let crowd = self.crowd(self.known.values());
            let text = self.printer.changed(change, item, &crowd, Timestamp::now())?;
            console.print(&text)?;
        }
        Ok(())
    }
}

fn differs(one: &Value, other: &Value) -> bool {
    let version = |item| text(item, "/metadata/resourceVersion").map(ToOwned::to_owned);
    version(one) != version(other)
}

fn place(item: &Value) -> (String, String) {
    let part = |pointer| text(item, pointer).unwrap_or_default().to_owned();
    (part("/metadata/namespace"), part("/metadata/name"))
}

fn text<'a>(item: &'a Value, pointer: &str) -> Option<&'a str> {
    item.pointer(pointer)?.as_str()
}
