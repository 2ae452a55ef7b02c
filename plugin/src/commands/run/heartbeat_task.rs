//! The task that keeps a session registered while its command runs.

use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    path::Path,
    time::Duration,
};

use mirrord_sessions_core::text::printable;
use mirrord_sessions_crds::{SessionId, SessionReportSpec};
use serde_json::Value;
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::create::{SessionTemplate, create, delete_session, end_session, new_id};
use crate::{
    console::Console,
    error::Error,
    home,
    run::{
        ending::Ending,
        heartbeat::{HeartbeatState, NextAction, Notice, RequestFailure, WatchView},
        monitor::Monitor,
        watch::{OwnSession, classify, follow, observe, with_timeout},
    },
    server::Server,
};

/// The interval of polling mirrord's monitor for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Limit of the printed reason why the cluster rejects a session, in characters.
const MAX_REASON: usize = 400;
/// The maximum length of a reported program name.
const MAX_PROGRAM: usize = 200;

/// The task of one command.
pub(super) struct HeartbeatTask<'s, 'c> {
    server: &'s Server,
    template: SessionTemplate,
    start: Instant,
    /// The session name that the command's agent has.
    origin: SessionId,
    own: RefCell<OwnSession>,
    /// The ID of a session that is being created, and may exist without a response.
    pending_id: RefCell<Option<SessionId>>,
    /// The last error about credentials.
    credentials_error: RefCell<String>,
    is_over: Cell<bool>,
    console: RefCell<&'s mut Console<'c>>,
}

impl<'s, 'c> HeartbeatTask<'s, 'c> {
    pub(super) fn new(
        server: &'s Server,
        template: SessionTemplate,
        own: OwnSession,
        console: &'s mut Console<'c>,
    ) -> Self {
        Self {
            server,
            template,
            start: Instant::now(),
            origin: own.id.clone(),
            own: RefCell::new(own),
            pending_id: RefCell::new(None),
            credentials_error: RefCell::default(),
            is_over: Cell::new(false),
            console: RefCell::new(console),
        }
    }

    /// Returns the session name that the command has.
    pub(super) fn original_name(&self) -> &str {
        self.origin.name()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn say(&self, line: &str) {
        self.console.borrow_mut().say(line);
    }

    /// Sends reports until a user stops the session. Returns the end.
    pub(super) async fn run(&self, pid: u32, program: &OsStr) -> Ending {
        let mut heartbeat = HeartbeatState::new(self.now(), self.template.announces_reports);
        let mut source = Reports::new(pid, self.origin.name(), program);
        loop {
            if let Some(ending) = self.maintain(&mut heartbeat, &mut source).await {
                return ending;
            }
            self.register(&mut heartbeat).await;
        }
    }

    /// Keeps one session until a user stops it, or until it ends for another reason, which returns
    /// nothing.
    async fn maintain(
        &self,
        heartbeat: &mut HeartbeatState,
        source: &mut Reports,
    ) -> Option<Ending> {
        let own = self.own.borrow().clone();
        let (send_view, mut views) = unbounded_channel();
        let follow = follow(self.server, &own, move |view| {
            // The receiver lives as long as this future.
            let _ = send_view.send(view);
        });
        tokio::pin!(follow);
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let notice = match heartbeat.next(self.now()) {
                NextAction::End(ending) => return Some(ending),
                NextAction::Register => {
                    heartbeat.on_registering();
                    return None;
                }
                NextAction::Report => {
                    let report = self.report(&own, source);
                    tokio::pin!(report);
                    // Frequent views must not prevent reports.
                    loop {
                        let notice = tokio::select! {
                            result = &mut report => break heartbeat.on_report_result(result, self.now()),
                            view = views.recv() => heartbeat.on_watch_view(view.unwrap_or(WatchView::Hidden), self.now()),
                            () = &mut follow => None,
                        };
                        if notice.is_some() || heartbeat.next(self.now()) != NextAction::Report {
                            break notice;
                        }
                    }
                }
                NextAction::LookUp => {
                    heartbeat.on_observation(observe(self.server, &own).await, self.now())
                }
                NextAction::Wait(until) => tokio::select! {
                    () = sleep_until(self.start + until) => None,
                    view = views.recv() => heartbeat.on_watch_view(view.unwrap_or(WatchView::Hidden), self.now()),
                    // The future may be dropped for other events, since a monitor may be slow.
                    has_new_data = async { poll.tick().await; source.has_new_data().await } => {
                        if has_new_data {
                            heartbeat.on_new_data(self.now());
                        }
                        None
                    }
                    () = &mut follow => None,
                },
            };
            self.notify(notice, &own);
        }
    }

    async fn report(
        &self,
        own: &OwnSession,
        source: &mut Reports,
    ) -> Result<Option<u64>, RequestFailure> {
        let report = source.read().await;
        let sent = self.server.report(&own.namespace, &own.id, &report);
        match with_timeout(sent).await {
            Ok(answer) => {
                source.sent = Some(report);
                let period = answer.pointer("/status/periodSeconds");
                Ok(period.and_then(Value::as_u64))
            }
            Err(error) => Err(self.classify(error.as_ref()).await),
        }
    }

    async fn classify(&self, error: Option<&Error>) -> RequestFailure {
        if let Some(error) = error.filter(|error| error.is_of_credentials()) {
            let text = error.to_string();
            let reason = text.strip_prefix("error: ").unwrap_or(&text);
            self.credentials_error.replace(printable(reason, MAX_REASON));
        }
        classify(self.server, error).await
    }

    async fn register(&self, heartbeat: &mut HeartbeatState) {
        let before = self.own.borrow().clone();
        loop {
            match heartbeat.next(self.now()) {
                NextAction::Register => {}
                NextAction::Wait(until) => {
                    sleep_until(self.start + until).await;
                    continue;
                }
                _ => return,
            }
            // Reuse the ID of a failed attempt, which may have stored the session.
            let id = self.pending_id.borrow().clone().map_or_else(new_id, Ok);
            let Ok(id) = id else {
                let _ = heartbeat.on_register_result(Err(RequestFailure::Unreachable), self.now());
                continue;
            };
            self.pending_id.replace(Some(id.clone()));
            let template = SessionTemplate {
                announces_reports: heartbeat.announces_reports(),
                ..self.template.clone()
            };
            let mut reason = String::new();
            let result = match with_timeout(create(self.server, &template, &id)).await {
                Ok(created) => {
                    self.say(&format!(
                        "Session \"{}\" has ended, and no user stopped it: the command continues as session \"{id}\"",
                        before.id
                    ));
                    self.own.replace(created);
                    self.pending_id.replace(None);
                    Ok(())
                }
                Err(error) => {
                    reason = error.as_ref().map(ToString::to_string).unwrap_or_default();
                    Err(self.classify(error.as_ref()).await)
                }
            };
            match heartbeat.on_register_result(result, self.now()) {
                Some(Notice::Unregistered) => self.say(&format!(
                    "Warning: the cluster accepts no session in place of \"{}\": the command continues without one, and another attempt follows ({})",
                    before.id,
                    printable(&reason, MAX_REASON)
                )),
                notice => self.notify(notice, &before),
            }
        }
    }

    fn notify(&self, notice: Option<Notice>, own: &OwnSession) {
        let id = &own.id;
        match notice {
            // The second notice contains the reason.
            None | Some(Notice::Unregistered) => {}
            Some(Notice::Undefined) => self.say(&format!(
                "Warning: session \"{id}\" is no longer recorded, because the definition of sessions was removed from this cluster: the command continues, and is recorded again when the definition is restored"
            )),
            Some(Notice::Unreachable) => self.say(&format!(
                "Warning: the cluster cannot be reached, and session \"{id}\" may expire: the command continues, and the session is reported again when the cluster is reachable"
            )),
            Some(Notice::Unauthenticated) => self.say(&format!(
                "Warning: the cluster accepts no credentials of this command, and session \"{id}\" may expire: the command continues, and the session is reported again when there are new ones ({})",
                self.credentials_error.borrow()
            )),
            Some(Notice::Reachable) => self.say("The cluster is back."),
            Some(Notice::Refused) => self.say(&format!(
                "Warning: the cluster accepts no reports about session \"{id}\", which may expire: the command continues; reports need \"create\" on sessiontrackers/report, and a cluster that serves sessiontrackers"
            )),
        }
    }

    /// Notifies the user that the command is about to be ended.
    pub(super) fn notify_stopped(&self, ending: &Ending) {
        self.is_over.set(true);
        let own = self.own.borrow();
        let who = match ending.user() {
            Some(by) => format!("was stopped by {by}"),
            None => "was deleted by an unknown user".to_owned(),
        };
        self.say(&format!("Session \"{}\" {who}: ending the command", own.id));
    }

    /// Ends the session after the command has ended.
    pub(super) async fn close(self) {
        let (own, pending_id) = (self.own.into_inner(), self.pending_id.into_inner());
        let console = self.console.into_inner();
        if let Some(id) = pending_id {
            delete_session(self.server, &own.namespace, &id, None, console).await;
        }
        if self.is_over.get() {
            // A session that is seen as ended usually has ended.
            let uid = own.uid.as_deref();
            delete_session(self.server, &own.namespace, &own.id, uid, console).await;
        } else {
            end_session(self.server, &own, console).await;
        }
    }
}

/// The source of reports, with the last report.
struct Reports {
    monitor: Monitor,
    pid: u32,
    session: String,
    /// The report without a monitor.
    fallback: SessionReportSpec,
    sent: Option<SessionReportSpec>,
}

impl Reports {
    fn new(pid: u32, session: &str, program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or(program);
        let name = printable(&name.to_string_lossy(), MAX_PROGRAM);
        Self {
            monitor: Monitor::new(home::home_dir()),
            pid,
            session: session.to_owned(),
            fallback: SessionReportSpec { processes: vec![name], ..SessionReportSpec::default() },
            sent: None,
        }
    }

    async fn read(&mut self) -> SessionReportSpec {
        let report = self.monitor.report(self.pid, &self.session).await;
        report.unwrap_or_else(|| self.fallback.clone())
    }

    async fn has_new_data(&mut self) -> bool {
        let report = self.read().await;
        self.sent.as_ref().is_some_and(|sent| *sent != report)
    }
}
