//! The command `top`: terminal and cluster around the view.

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mirrord_sessions_crds::SessionId;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;
use tokio::sync::mpsc::{self, Sender};

use super::scope;
use crate::{
    cli::top::TopArgs,
    error::Error,
    server::{
        DeleteOptions, Effect, EventType, ListOptions, Server, Source, TerminalUse, WatchEvent,
    },
    session::Session,
    top::{Action, Event, Press, Top, update, view},
};

/// Capacity of the queue of events.
const QUEUE: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);
/// Delay before the cluster is listed again after a failure.
const RETRY: Duration = Duration::from_secs(3);

pub(super) async fn run(server: Server, args: TopArgs) -> Result<(), Error> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Error::setup(
            "top needs a terminal: \"kubectl mirrord-sessions list\" prints to a file or a pipe",
        ));
    }
    let scope = scope(&server, args.namespaces);
    let top = Top::new(scope.namespace(), Timestamp::now());
    // The view owns the terminal from now on.
    server.limit_terminal(TerminalUse::None);
    let server = Arc::new(server);
    // The first list fails like that of every command, before the terminal is taken over.
    let mut listing = ListOptions::in_scope(scope);
    let found = server.discover().await?;
    if found.source == Source::Trackers {
        // Trackers show ended sessions for some minutes.
        listing = listing.with_field("status.state!=terminated");
    }
    let mut pages = server.list(&listing).await?;
    let first = sessions_of(pages.collect().await?);
    let version = pages.resource_version().to_owned();
    let mut top = update(top, Event::Listed(first));
    if let Some(warning) = found.warning() {
        top = update(top, Event::Warning(warning));
    }
    let (sender, events) = mpsc::channel(QUEUE);
    let warnings = sender.clone();
    server.redirect_warnings(move |warning| {
        // The view has ended, or more events are waiting than a user could read.
        let _ = warnings.try_send(Event::Warning(warning));
    });
    let following = Arc::clone(&server);
    let changes = sender.clone();
    let feed = tokio::spawn(async move { follow(&following, &listing, version, &changes).await });
    // Register the signal handlers before the terminal changes.
    let end = stop_signal();
    // This also restores the terminal if the program panics.
    let mut terminal = ratatui::try_init().map_err(Error::Output)?;
    keys(sender.clone());
    let result = show(&mut terminal, top, events, end, &sender, &server).await;
    feed.abort();
    if ratatui::try_restore().and_then(|()| terminal.show_cursor()).is_err() {
        // The terminal was closed. Restoring it on drop would fail with nowhere to report it.
        std::mem::forget(terminal);
    }
    result
}

async fn show(
    terminal: &mut ratatui::DefaultTerminal,
    mut top: Top,
    mut events: mpsc::Receiver<Event>,
    end: impl Future<Output = ()>,
    sender: &Sender<Event>,
    server: &Arc<Server>,
) -> Result<(), Error> {
    let mut clock = tokio::time::interval(SECOND);
    let mut end = std::pin::pin!(end);
    // The time since which a confirmation has been visible.
    let mut asked: Option<Instant> = None;
    loop {
        let size = terminal.size().map_err(Error::Output)?;
        top.rows = view::rows(size.height);
        terminal.draw(|frame| view::render(&top, frame)).map_err(Error::Output)?;
        asked = asked.or_else(|| Some(Instant::now())).filter(|_| top.is_confirming());
        let event = tokio::select! {
            event = events.recv() => event,
            _ = clock.tick() => Some(Event::Time(Timestamp::now())),
            () = &mut end => return Ok(()),
        };
        let Some(mut event) = event else {
            return Ok(());
        };
        // Draw once for events that arrived together.
        loop {
            let shown_for = asked.map(|asked| asked.elapsed()).unwrap_or_default();
            if !top.is_too_early(&event, shown_for) {
                top = update(top, event);
            }
            if top.action.is_some() {
                break;
            }
            let Ok(next) = events.try_recv() else { break };
            event = next;
        }
        match top.action.take() {
            None => {}
            Some(Action::Quit) => return Ok(()),
            Some(Action::Stop(key, uid)) => {
                let (server, sender) = (Arc::clone(server), sender.clone());
                tokio::spawn(async move {
                    let how = DeleteOptions {
                        effect: Effect::Real,
                        grace_period: None,
                        // The uid prevents the deletion of another session that took the name
                        // meanwhile.
                        uid: uid.as_deref(),
                    };
                    let id = SessionId::from_name(&key.1);
                    let result = server.delete(&key.0, &id, &how).await;
                    let result = result.map(drop).map_err(|error| error.to_string());
                    // A send error means that the view has ended.
                    let _ = sender.send(Event::Stopped(key, result)).await;
                });
            }
        }
    }
}

/// Sends changes to the view, and lists again after a failure. Ends when the receiver is dropped.
async fn follow(server: &Server, listing: &ListOptions, version: String, changes: &Sender<Event>) {
    let mut version = Some(version);
    while !changes.is_closed() {
        let result = match version.take() {
            // mirrord's operator serves no watch.
            Some(_) if is_mirrord_operator(server).await => {
                tokio::time::sleep(RETRY).await;
                Ok(())
            }
            Some(version) => watch(server, listing, &version, changes).await,
            None => {
                let list = async {
                    let mut pages = server.list(listing).await?;
                    let all = pages.collect().await?;
                    Ok::<_, Error>((sessions_of(all), pages.resource_version().to_owned()))
                };
                match list.await {
                    Ok((all, at)) => {
                        let _ = changes.send(Event::Listed(all)).await;
                        version = Some(at);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = result {
            let has_fallen_behind =
                error.api_error().is_some_and(|api_error| api_error.status.code == 410);
            if has_fallen_behind {
                // A complete list follows: limit its rate.
                tokio::time::sleep(SECOND).await;
            } else {
                let _ = changes.send(Event::WatchFailed(error.to_string())).await;
                tokio::time::sleep(RETRY).await;
            }
        } else if version.is_none() {
            // Limit the rate of watches against a server that ends each at once.
            tokio::time::sleep(SECOND).await;
        }
    }
}

/// Returns the sessions that lists show too: preview environments are hidden.
fn sessions_of(mut items: Vec<Value>) -> Vec<Value> {
    items.retain(|item| !Session::from_object(item).is_preview());
    items
}

async fn is_mirrord_operator(server: &Server) -> bool {
    let source = server.discover().await;
    source.is_ok_and(|found| found.source == Source::Operator)
}

async fn watch(
    server: &Server,
    listing: &ListOptions,
    version: &str,
    changes: &Sender<Event>,
) -> Result<(), Error> {
    let mut watch = server.watch(listing, version).await?;
    while let Some(event) = watch.next().await? {
        let event = match event {
            WatchEvent::Object(EventType::Deleted, object) => Event::Deleted(object),
            WatchEvent::Object(_, object) => Event::Changed(object),
            WatchEvent::Bookmark(_) => continue,
        };
        if changes.send(event).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads keys in a thread that lives as long as the process, because the read can't be interrupted.
fn keys(sender: Sender<Event>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let event = match event {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                    press(key).map(Event::Press)
                }
                // A resize redraws the screen.
                event::Event::Resize(..) => Some(Event::Time(Timestamp::now())),
                _ => None,
            };
            if let Some(event) = event
                && sender.blocking_send(event).is_err()
            {
                return;
            }
        }
        // Without keys, the user could not quit.
        let _ = sender.blocking_send(Event::Press(Press::Interrupt));
    });
}

fn press(key: KeyEvent) -> Option<Press> {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if with_control => Press::Interrupt,
        KeyCode::Char(_) if with_control => return None,
        KeyCode::Char(letter) => Press::Letter(letter),
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::First,
        KeyCode::End => Press::Last,
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Escape,
        KeyCode::Backspace => Press::Backspace,
        KeyCode::Delete => Press::Delete,
        _ => return None,
    })
}

/// Returns a future that completes on a signal to stop, so that the terminal can be restored first.
fn stop_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let signals = {
        use tokio::signal::unix::{SignalKind, signal};
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal)
    };
    async move {
        #[cfg(unix)]
        {
            let [Ok(mut term), Ok(mut hangup), Ok(mut interrupt)] = signals else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
