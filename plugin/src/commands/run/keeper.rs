//! Keeps the cluster told of a session while its command runs.

use std::{cell::RefCell, ffi::OsStr, path::Path, time::Duration};

use mirrord_sessions_core::text::printable;
use mirrord_sessions_crds::{SessionId, SessionReportSpec, SessionSpec};
use serde_json::Value;
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{create, delete, new_id};
use crate::{
    console::Console,
    run::{
        keep::{Ending, Failure, Keep, News, Next},
        monitor::Monitor,
        watch::{Own, failure, follow, look, patiently},
    },
    server::Server,
};

/// How often mirrord's monitor is asked whether there is anything new to report.
const GLANCE: Duration = Duration::from_secs(2);
/// The longest name of a program that is reported.
const MAX_PROGRAM: usize = 200;

/// What keeps a session.
pub(super) struct Keeper<'s, 'c> {
    server: &'s Server,
    spec: SessionSpec,
    start: Instant,
    /// The name that the command's agent has been told.
    origin: SessionId,
    own: RefCell<Own>,
    /// One that is being created.
    coming: RefCell<Option<SessionId>>,
    console: RefCell<&'s mut Console<'c>>,
}

impl<'s, 'c> Keeper<'s, 'c> {
    pub(super) fn new(
        server: &'s Server,
        spec: SessionSpec,
        own: Own,
        console: &'s mut Console<'c>,
    ) -> Self {
        Self {
            server,
            spec,
            start: Instant::now(),
            origin: own.id.clone(),
            own: RefCell::new(own),
            coming: RefCell::new(None),
            console: RefCell::new(console),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn say(&self, line: &str) {
        self.console.borrow_mut().say(line);
    }

    /// Reports until somebody stops the session: how.
    pub(super) async fn keep(&self, pid: u32, program: &OsStr) -> Ending {
        let mut keep = Keep::new(self.now());
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
        let follow = follow(self.server, &own, move |ending| {
            // The receiver lives as long as this does.
            let _ = tell.send(ending);
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
                Next::Report => tokio::select! {
                    result = self.report(&own, source) => keep.reported(result, self.now()),
                    ending = told.recv() => {
                        keep.ended(ending?, self.now());
                        None
                    }
                    () = &mut follow => None,
                },
                Next::Look => keep.looked(look(self.server, &own).await, self.now()),
                Next::Wait(until) => {
                    tokio::select! {
                        () = sleep_until(self.start + until) => {}
                        ending = told.recv() => keep.ended(ending?, self.now()),
                        _ = glances.tick() => {
                            if source.is_new().await {
                                keep.changed(self.now());
                            }
                        }
                        () = &mut follow => {}
                    }
                    None
                }
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
            Err(error) => Err(failure(error.as_ref())),
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
            let Ok(id) = new_id() else {
                let _ = keep.registered(Err(Failure::Unreachable), self.now());
                continue;
            };
            self.coming.replace(Some(id.clone()));
            let created = patiently(create(self.server, &before.namespace, &id, &self.spec)).await;
            let result = match created {
                Ok(created) => {
                    self.say(&format!(
                        "Session \"{}\" was closed by the cluster, and not by anybody: the command goes on as session \"{id}\"",
                        before.id
                    ));
                    self.own.replace(created.own);
                    self.coming.replace(None);
                    Ok(())
                }
                Err(error) => {
                    // It may have been stored all the same.
                    Err(failure(error.as_ref()))
                }
            };
            let news = keep.registered(result, self.now());
            self.tell(news, &before);
        }
    }

    fn tell(&self, news: Option<News>, own: &Own) {
        let id = &own.id;
        match news {
            None => {}
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
        delete(
            self.server,
            &own.namespace,
            &own.id,
            Some(&own.uid),
            console,
        )
        .await;
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
            monitor: Monitor::of(std::env::home_dir()),
            pid,
            session: session.to_owned(),
            bare: SessionReportSpec {
                ports: Vec::new(),
                processes: vec![name],
                ended: false,
            },
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
