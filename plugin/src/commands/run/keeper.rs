//! Keeps the cluster told of a session while its command runs.

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

use super::create::{Wanted, create, delete, end, new_id};
use crate::{
    console::Console,
    home,
    run::{
        ending::Ending,
        keep::{Failure, Keep, News, Next, Sight},
        monitor::Monitor,
        watch::{Own, follow, look, patiently, told},
    },
    server::Server,
};

/// How often mirrord's monitor is asked whether there is anything new to report.
const GLANCE: Duration = Duration::from_secs(2);
/// How much is told of why the cluster takes no session.
const MAX_WHY: usize = 400;
/// The longest name of a program that is reported.
const MAX_PROGRAM: usize = 200;

/// What keeps a session.
pub(super) struct Keeper<'s, 'c> {
    server: &'s Server,
    wanted: Wanted,
    start: Instant,
    /// The name that the command's agent has been told.
    origin: SessionId,
    own: RefCell<Own>,
    /// One that is being created, and may be there though no answer says so.
    coming: RefCell<Option<SessionId>>,
    over: Cell<bool>,
    console: RefCell<&'s mut Console<'c>>,
}

impl<'s, 'c> Keeper<'s, 'c> {
    pub(super) fn new(
        server: &'s Server,
        wanted: Wanted,
        own: Own,
        console: &'s mut Console<'c>,
    ) -> Self {
        Self {
            server,
            wanted,
            start: Instant::now(),
            origin: own.id.clone(),
            own: RefCell::new(own),
            coming: RefCell::new(None),
            over: Cell::new(false),
            console: RefCell::new(console),
        }
    }

    /// The name that the command has been told.
    pub(super) fn name(&self) -> &str {
        self.origin.name()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn say(&self, line: &str) {
        self.console.borrow_mut().say(line);
    }

    /// Reports until somebody stops the session: how.
    pub(super) async fn keep(&self, pid: u32, program: &OsStr) -> Ending {
        let mut keep = Keep::new(self.now(), self.wanted.reports);
        let mut source = Reports::of(pid, self.origin.name(), program);
        loop {
            if let Some(ending) = self.keep_one(&mut keep, &mut source).await {
                return ending;
            }
            self.register(&mut keep).await;
        }
    }

    /// Until somebody stops the session, or it is over for another reason: then nothing.
    async fn keep_one(&self, keep: &mut Keep, source: &mut Reports) -> Option<Ending> {
        let own = self.own.borrow().clone();
        let (tell, mut told) = unbounded_channel();
        let follow = follow(self.server, &own, move |sight| {
            // The receiver lives as long as this does.
            let _ = tell.send(sight);
        });
        tokio::pin!(follow);
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let news = match keep.next(self.now()) {
                Next::End(ending) => return Some(ending),
                Next::Register => {
                    keep.registering();
                    return None;
                }
                Next::Report => {
                    let report = self.report(&own, source);
                    tokio::pin!(report);
                    // One sight after the other must not keep it from being sent.
                    loop {
                        let news = tokio::select! {
                            result = &mut report => break keep.reported(result, self.now()),
                            sight = told.recv() => keep.seen(sight.unwrap_or(Sight::Away), self.now()),
                            () = &mut follow => None,
                        };
                        if news.is_some() || keep.next(self.now()) != Next::Report {
                            break news;
                        }
                    }
                }
                Next::Look => keep.looked(look(self.server, &own).await, self.now()),
                Next::Wait(until) => tokio::select! {
                    () = sleep_until(self.start + until) => None,
                    sight = told.recv() => keep.seen(sight.unwrap_or(Sight::Away), self.now()),
                    // Dropped for what else happens: a monitor may take its time.
                    is_new = async { glances.tick().await; source.is_new().await } => {
                        if is_new {
                            keep.changed(self.now());
                        }
                        None
                    }
                    () = &mut follow => None,
                },
            };
            self.tell(news, &own);
        }
    }

    async fn report(&self, own: &Own, source: &mut Reports) -> Result<Option<u64>, Failure> {
        let report = source.read().await;
        let sent = self.server.report(&own.namespace, &own.id, &report);
        match patiently(sent).await {
            Ok(answer) => {
                source.sent = Some(report);
                let period = answer.pointer("/status/periodSeconds");
                Ok(period.and_then(Value::as_u64))
            }
            Err(error) => Err(told(self.server, error.as_ref()).await),
        }
    }

    async fn register(&self, keep: &mut Keep) {
        let before = self.own.borrow().clone();
        loop {
            match keep.next(self.now()) {
                Next::Register => {}
                Next::Wait(until) => {
                    sleep_until(self.start + until).await;
                    continue;
                }
                _ => return,
            }
            // The same until there is one: an earlier try may have been stored all the same.
            let id = self.coming.borrow().clone().map_or_else(new_id, Ok);
            let Ok(id) = id else {
                let _ = keep.registered(Err(Failure::Unreachable), self.now());
                continue;
            };
            self.coming.replace(Some(id.clone()));
            let wanted = Wanted { reports: keep.promises(), ..self.wanted.clone() };
            let mut why = String::new();
            let result = match patiently(create(self.server, &wanted, &id)).await {
                Ok(created) => {
                    self.say(&format!(
                        "Session \"{}\" is over, and nobody stopped it: the command goes on as session \"{id}\"",
                        before.id
                    ));
                    self.own.replace(created.own);
                    self.coming.replace(None);
                    Ok(())
                }
                Err(error) => {
                    why = error.as_ref().map(ToString::to_string).unwrap_or_default();
                    Err(told(self.server, error.as_ref()).await)
                }
            };
            match keep.registered(result, self.now()) {
                Some(News::Unregistered) => self.say(&format!(
                    "Warning: the cluster takes no session in place of \"{}\": the command goes on without, and it is tried again ({})",
                    before.id,
                    printable(&why, MAX_WHY)
                )),
                news => self.tell(news, &before),
            }
        }
    }

    fn tell(&self, news: Option<News>, own: &Own) {
        let id = &own.id;
        match news {
            // The second is told with its reason.
            None | Some(News::Unregistered) => {}
            Some(News::Undefined) => self.say(&format!(
                "Warning: session \"{id}\" is not recorded any more, since this cluster's definition of sessions is removed: the command goes on, and is recorded again once that is back"
            )),
            Some(News::Lost) => self.say(&format!(
                "Warning: the cluster cannot be reached, and may take session \"{id}\" for over: the command goes on, and the session is reported again when the cluster is back"
            )),
            Some(News::Back) => self.say("The cluster is back."),
            Some(News::Refused) => self.say(&format!(
                "Warning: the cluster takes no reports about session \"{id}\" and may take it for over: the command goes on; reports need \"create\" on sessiontrackers/report, and a cluster that serves sessiontrackers"
            )),
        }
    }

    /// The command is about to be ended.
    pub(super) fn stopped(&self, ending: &Ending) {
        self.over.set(true);
        let own = self.own.borrow();
        let who = match ending.person() {
            Some(by) => format!("was stopped by {by}"),
            None => "was deleted; who did it is not known".to_owned(),
        };
        self.say(&format!("Session \"{}\" {who}: ending the command", own.id));
    }

    /// The command has ended.
    pub(super) async fn close(self) {
        let (own, coming) = (self.own.into_inner(), self.coming.into_inner());
        let console = self.console.into_inner();
        if let Some(id) = coming {
            delete(self.server, &own.namespace, &id, None, console).await;
        }
        if self.over.get() {
            // What is seen to be over most often is.
            let uid = own.uid.as_deref();
            delete(self.server, &own.namespace, &own.id, uid, console).await;
        } else {
            end(self.server, &own, console).await;
        }
    }
}

/// What is reported, and what was last.
struct Reports {
    monitor: Monitor,
    pid: u32,
    session: String,
    /// Where there is no monitor.
    bare: SessionReportSpec,
    sent: Option<SessionReportSpec>,
}

impl Reports {
    fn of(pid: u32, session: &str, program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or(program);
        let name = printable(&name.to_string_lossy(), MAX_PROGRAM);
        Self {
            monitor: Monitor::of(home::of_process()),
            pid,
            session: session.to_owned(),
            bare: SessionReportSpec { ports: Vec::new(), processes: vec![name], ended: false },
            sent: None,
        }
    }

    async fn read(&mut self) -> SessionReportSpec {
        let told = self.monitor.report(self.pid, &self.session).await;
        told.unwrap_or_else(|| self.bare.clone())
    }

    async fn is_new(&mut self) -> bool {
        let report = self.read().await;
        self.sent.as_ref().is_some_and(|sent| *sent != report)
    }
}
