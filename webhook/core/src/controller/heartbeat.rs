//! Sessions that live by their owners' reports, and end when these cease, or never come though they
//! were promised.
//!
//! How long one has been silent is measured by the clock of who looks, from when the last report
//! was seen, or the Session, where there was none: no two machines' clocks are compared, and a new
//! leader gives each the full time again.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_crds::{Session, annotations::REPORTS};

use super::{AGENT, AgentId};

/// A Session that is reported about, or to be, and that the controller didn't record for an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reporting {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub uid: String,
    /// The line that says who runs it.
    pub user: String,
    /// What it targets.
    pub target: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The agent that is tied to it.
    pub agent: Option<AgentId>,
    /// It is being deleted, and waits for what goes before it.
    pub going: bool,
    last_seen: Option<Timestamp>,
}

impl Reporting {
    /// What counts of a Session. One that was never reported about is none of these, unless whoever
    /// created it said that they will: else they delete it.
    #[must_use]
    pub fn of(session: &Session) -> Option<Self> {
        let meta = &session.metadata;
        let has = |name| {
            let annotations = meta.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(name))
        };
        let status = session.status.as_ref();
        let last_seen = status.and_then(|status| status.last_seen.as_ref());
        let lives = last_seen.is_some() || has(REPORTS);
        if has(AGENT) || !lives {
            return None;
        }
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            user: session.spec.user_line().into_owned(),
            target: session.spec.target.clone(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            agent: status.and_then(|status| status.agent.as_ref()).and_then(AgentId::of),
            going: meta.deletion_timestamp.is_some(),
            last_seen: last_seen.map(|time| time.0),
        })
    }
}

/// Since when nothing was heard of Sessions.
#[derive(Debug, Default)]
pub struct Silence(HashMap<String, (Option<Timestamp>, Duration)>);

impl Silence {
    /// Looks at all Sessions that live by reports, `now` on a clock that only goes forward; those
    /// that have been silent for so long.
    pub fn sweep<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a Reporting>,
        now: Duration,
        expiry: Duration,
    ) -> Vec<Reporting> {
        let mut silent = Vec::new();
        let mut heard = HashMap::new();
        for session in sessions {
            let since = match self.0.get(&session.uid) {
                Some((seen, since)) if *seen == session.last_seen => *since,
                _ => now,
            };
            if now.saturating_sub(since) >= expiry {
                silent.push(session.clone());
            }
            heard.insert(session.uid.clone(), (session.last_seen, since));
        }
        self.0 = heard;
        silent
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use mirrord_sessions_crds::{SessionSpec, SessionStatus};
    use serde_json::json;

    use super::*;
    use crate::{
        agents::fixtures::{RUNNING, job},
        controller::{Agent, View, fixtures::time, place},
    };

    const EXPIRY: Duration = Duration::from_mins(1);

    fn reported(uid: &str, last_seen: Option<i64>) -> Session {
        let mut session = Session::new(uid, SessionSpec::default());
        session.metadata.namespace = Some("shop".into());
        session.metadata.uid = Some(uid.into());
        session.status = Some(SessionStatus {
            last_seen: last_seen.map(|second| Time(time(second))),
            ..SessionStatus::default()
        });
        session
    }

    fn sweep(silence: &mut Silence, view: &View, now: u64) -> Vec<String> {
        let silent = silence.sweep(view.unvouched(), Duration::from_secs(now), EXPIRY);
        silent.into_iter().map(|session| session.uid).collect()
    }

    #[test]
    fn which_live_by_reports() {
        let with = |annotation: &str| {
            let mut session = reported("a", Some(1));
            let annotations = session.metadata.annotations.get_or_insert_default();
            annotations.insert(annotation.into(), "Job/a/b/c".into());
            session
        };
        let mut going = reported("a", Some(1));
        going.metadata.deletion_timestamp = Some(Time(time(1)));
        let mut created = reported("a", None);
        created.status = None;
        let mut promised = with(REPORTS);
        promised.status = None;
        let mut of_agent = promised.clone();
        let annotations = of_agent.metadata.annotations.get_or_insert_default();
        annotations.insert(AGENT.into(), "Job/a/b/c".into());
        for (name, session, expected) in [
            ("promised to report", promised, true),
            ("promised to report, and recorded for an agent", of_agent, false),
            ("reported about", reported("a", Some(1)), true),
            ("an annotation of the user's", with("example.com/a"), true),
            ("recorded for an agent", with(AGENT), false),
            ("never reported about", reported("a", None), false),
            ("just created", created, false),
            ("going", going, true),
        ] {
            assert_eq!(Reporting::of(&session).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn silence_is_measured_by_the_clock_of_who_looks() {
        let mut view = View::default();
        let mut silence = Silence::default();
        // Whatever the time is that the reports tell: long ago, or to come.
        view.apply_session(&reported("a", Some(0)));
        view.apply_session(&reported("b", Some(1 << 37)));
        assert!(sweep(&mut silence, &view, 1000).is_empty());
        assert!(sweep(&mut silence, &view, 1059).is_empty());
        view.apply_session(&reported("b", Some(1)));
        assert_eq!(sweep(&mut silence, &view, 1060), ["a"]);
        assert_eq!(sweep(&mut silence, &view, 1119), ["a"], "until it is gone");
        view.remove_session(&place(&reported("a", None).metadata).unwrap());
        assert_eq!(sweep(&mut silence, &view, 1120), ["b"]);
        // The same name is another Session's.
        let mut another = reported("b", Some(1));
        another.metadata.uid = Some("c".into());
        view.apply_session(&another);
        assert!(sweep(&mut silence, &view, 1121).is_empty());
        // A next leader gives it the full time.
        let mut next = Silence::default();
        assert!(sweep(&mut next, &view, 0).is_empty());
        assert_eq!(sweep(&mut next, &view, 60), ["c"]);
    }

    #[test]
    fn a_promise_that_is_not_kept_expires_as_silence_does() {
        let promised = |last_seen| {
            let mut session = reported("a", last_seen);
            let annotations = session.metadata.annotations.get_or_insert_default();
            annotations.insert(REPORTS.into(), String::new());
            session
        };
        let mut view = View::default();
        let mut silence = Silence::default();
        view.apply_session(&promised(None));
        assert!(sweep(&mut silence, &view, 0).is_empty());
        assert!(sweep(&mut silence, &view, 59).is_empty());
        assert_eq!(sweep(&mut silence, &view, 60), ["a"]);
        // The first report counts, however late it comes.
        view.apply_session(&promised(Some(1)));
        assert!(sweep(&mut silence, &view, 61).is_empty());
        assert_eq!(sweep(&mut silence, &view, 121), ["a"]);
    }

    #[test]
    fn those_that_are_gone_are_told_of_once() {
        let mut view = View::default();
        let gone = |view: &mut View| {
            let gone = view.take_gone().into_iter();
            gone.map(|session| session.uid).collect::<Vec<_>>()
        };
        let place = |uid| place(&reported(uid, None).metadata).unwrap();
        for uid in ["a", "b", "c"] {
            view.apply_session(&reported(uid, Some(1)));
            view.apply_session(&reported(uid, Some(2)));
        }
        view.apply_session(&reported("by hand", None));
        // A deletion in the foreground.
        let mut going = reported("c", Some(2));
        going.metadata.deletion_timestamp = Some(Time(time(2)));
        view.apply_session(&going);
        assert!(view.unvouched().all(|session| session.uid != "c"));
        assert!(gone(&mut view).is_empty());
        view.remove_session(&place("a"));
        view.remove_session(&place("by hand"));
        let expired = Reporting::of(&reported("b", Some(2))).unwrap();
        view.forget_reporting(&expired);
        view.retain_sessions(&[].into());
        let mut all = gone(&mut view);
        all.sort();
        assert_eq!(all, ["a", "c"]);
        view.remove_session(&place("a"));
        assert!(gone(&mut view).is_empty());
    }

    #[test]
    fn an_agent_that_runs_vouches() {
        let mut view = View::default();
        let mut silence = Silence::default();
        let mut job = job(RUNNING);
        view.apply_job(&job);
        let id = Agent::of_job(&job).unwrap().id;
        let mut session = reported("a", Some(1));
        let status = session.status.get_or_insert_default();
        status.agent = serde_json::from_value(json!({
            "kind": "Job", "namespace": id.namespace, "name": id.name, "uid": id.uid,
        }))
        .unwrap();
        view.apply_session(&session);
        for now in [0, 100, 200] {
            assert!(sweep(&mut silence, &view, now).is_empty());
        }
        // From when it is over, as if there had been a report then.
        job.metadata.deletion_timestamp = Some(Time(time(1)));
        view.apply_job(&job);
        assert!(sweep(&mut silence, &view, 201).is_empty());
        assert_eq!(sweep(&mut silence, &view, 261), ["a"]);
    }
}
