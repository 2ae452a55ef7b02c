//! Expiry of Sessions that their owners keep alive with reports.
//!
//! A Session without a running agent expires when its owner stops reporting, or never reports
//! although the Session's annotation announces reports.
//!
//! The timer measures silence on the controller's own monotonic clock. It starts when a new report,
//! or a Session without one, is first observed. No clocks of different machines are compared, and a
//! new leader grants every Session the full time again.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_crds::{Session, annotations::REPORTS};

use super::{AgentId, bounded_map::MemorySize};
use crate::sessions::tracker::AGENT_ANNOTATION;

/// A Session that is kept alive by reports of its owner, not created by the controller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeartbeatSession {
    /// The namespace of the Session.
    pub namespace: String,
    /// The name of the Session.
    pub name: String,
    /// The UID of the Session.
    pub uid: String,
    /// The line `whoami/k8s-user@hostname` that describes the user.
    pub user: String,
    /// The target of the Session.
    pub target: String,
    /// The creation time of the Session.
    pub created_at: Option<Timestamp>,
    /// The agent that is bound to the Session.
    pub agent: Option<AgentId>,
    /// Set while the Session is being deleted and waits for a finalizer.
    pub deleting: bool,
    last_seen: Option<Timestamp>,
}

impl HeartbeatSession {
    /// Returns the Session if it has a report or if its annotation announces reports.
    ///
    /// Other Sessions are deleted by their creators and never expire.
    #[must_use]
    pub fn from_session(session: &Session) -> Option<Self> {
        let meta = &session.metadata;
        let has_annotation = |name| {
            let annotations = meta.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(name))
        };
        let status = session.status.as_ref();
        let last_seen = status.and_then(|status| status.last_seen.as_ref());
        let expects_reports = last_seen.is_some() || has_annotation(REPORTS);
        if has_annotation(AGENT_ANNOTATION) || !expects_reports {
            return None;
        }
        let agent = status.and_then(|status| status.agent.as_ref());
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            user: session.spec.user_line().into_owned(),
            target: session.spec.target.clone(),
            created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
            agent: agent.and_then(AgentId::from_reference),
            deleting: meta.deletion_timestamp.is_some(),
            last_seen: last_seen.map(|time| time.0),
        })
    }
}

impl MemorySize for HeartbeatSession {
    fn size(&self) -> usize {
        let Self { namespace, name, uid, user, target, .. } = self;
        let texts = [namespace, name, uid, user, target];
        // The timer holds the uid too.
        size_of::<Self>() + 512 + texts.into_iter().map(String::len).sum::<usize>()
    }
}

/// The last report of each Session and the time at which it was first observed.
#[derive(Debug, Default)]
pub struct HeartbeatTimer(HashMap<String, (Option<Timestamp>, Duration)>);

impl HeartbeatTimer {
    /// Updates the timer with all Sessions that require heartbeats and returns the expired ones.
    ///
    /// `now` is the time on a monotonic clock.
    pub fn expired<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a HeartbeatSession>,
        now: Duration,
        expiry: Duration,
    ) -> Vec<HeartbeatSession> {
        let mut expired = Vec::new();
        let mut updated = HashMap::new();
        for session in sessions {
            let since = match self.0.get(&session.uid) {
                Some((last_seen, since)) if *last_seen == session.last_seen => *since,
                _ => now,
            };
            if now.saturating_sub(since) >= expiry {
                expired.push(session.clone());
            }
            updated.insert(session.uid.clone(), (session.last_seen, since));
        }
        self.0 = updated;
        expired
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
        controller::{Agent, Cache, NamespacedName, fixtures::time},
    };

    const EXPIRY: Duration = Duration::from_mins(1);

    fn session(uid: &str, last_seen: Option<i64>) -> Session {
        let mut session = Session::new(uid, SessionSpec::default());
        session.metadata.namespace = Some("shop".into());
        session.metadata.uid = Some(uid.into());
        session.status = Some(SessionStatus {
            last_seen: last_seen.map(|second| Time(time(second))),
            ..SessionStatus::default()
        });
        session
    }

    fn expired(timer: &mut HeartbeatTimer, cache: &Cache, now: u64) -> Vec<String> {
        let expired =
            timer.expired(cache.sessions_requiring_heartbeats(), Duration::from_secs(now), EXPIRY);
        expired.into_iter().map(|session| session.uid).collect()
    }

    #[test]
    fn selects_sessions_that_expect_reports() {
        let with = |annotation: &str| {
            let mut session = session("a", Some(1));
            let annotations = session.metadata.annotations.get_or_insert_default();
            annotations.insert(annotation.into(), "Job/a/b/c".into());
            session
        };
        let mut deleting = session("a", Some(1));
        deleting.metadata.deletion_timestamp = Some(Time(time(1)));
        let mut created = session("a", None);
        created.status = None;
        let mut announced = with(REPORTS);
        announced.status = None;
        let mut of_agent = announced.clone();
        let annotations = of_agent.metadata.annotations.get_or_insert_default();
        annotations.insert(AGENT_ANNOTATION.into(), "Job/a/b/c".into());
        for (name, session, expected) in [
            ("announced reports", announced, true),
            ("announced reports, created for an agent", of_agent, false),
            ("has a report", session("a", Some(1)), true),
            ("has a report and another annotation", with("example.com/a"), true),
            ("created for an agent", with(AGENT_ANNOTATION), false),
            ("no report", session("a", None), false),
            ("just created", created, false),
            ("being deleted", deleting, true),
        ] {
            assert_eq!(HeartbeatSession::from_session(&session).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn measures_silence_on_own_clock() {
        let mut cache = Cache::default();
        let mut timer = HeartbeatTimer::default();
        // The times in the reports, long ago or in the future, do not matter.
        cache.apply_session(&session("a", Some(0)));
        cache.apply_session(&session("b", Some(1 << 37)));
        assert!(expired(&mut timer, &cache, 1000).is_empty());
        assert!(expired(&mut timer, &cache, 1059).is_empty());
        cache.apply_session(&session("b", Some(1)));
        assert_eq!(expired(&mut timer, &cache, 1060), ["a"]);
        assert_eq!(expired(&mut timer, &cache, 1119), ["a"], "until it is deleted");
        cache.remove_session(&NamespacedName::from_meta(&session("a", None).metadata).unwrap());
        assert_eq!(expired(&mut timer, &cache, 1120), ["b"]);
        // A Session of the same name but with another UID starts over.
        let mut another = session("b", Some(1));
        another.metadata.uid = Some("c".into());
        cache.apply_session(&another);
        assert!(expired(&mut timer, &cache, 1121).is_empty());
        // A new leader grants the full time.
        let mut next_leader = HeartbeatTimer::default();
        assert!(expired(&mut next_leader, &cache, 0).is_empty());
        assert_eq!(expired(&mut next_leader, &cache, 60), ["c"]);
    }

    #[test]
    fn expires_without_announced_reports() {
        let announced = |last_seen| {
            let mut session = session("a", last_seen);
            let annotations = session.metadata.annotations.get_or_insert_default();
            annotations.insert(REPORTS.into(), String::new());
            session
        };
        let mut cache = Cache::default();
        let mut timer = HeartbeatTimer::default();
        cache.apply_session(&announced(None));
        assert!(expired(&mut timer, &cache, 0).is_empty());
        assert!(expired(&mut timer, &cache, 59).is_empty());
        assert_eq!(expired(&mut timer, &cache, 60), ["a"]);
        // A first report counts even if it is late.
        cache.apply_session(&announced(Some(1)));
        assert!(expired(&mut timer, &cache, 61).is_empty());
        assert_eq!(expired(&mut timer, &cache, 121), ["a"]);
    }

    #[test]
    fn drains_deleted_sessions_once() {
        let mut cache = Cache::default();
        let drain = |cache: &mut Cache| {
            let deleted = cache.drain_deleted_heartbeat_sessions().into_iter();
            deleted.map(|session| session.uid).collect::<Vec<_>>()
        };
        let key = |uid| NamespacedName::from_meta(&session(uid, None).metadata).unwrap();
        for uid in ["a", "b", "c"] {
            cache.apply_session(&session(uid, Some(1)));
            cache.apply_session(&session(uid, Some(2)));
        }
        cache.apply_session(&session("manual", None));
        // A deletion in the foreground sets the deletion timestamp first.
        let mut deleting = session("c", Some(2));
        deleting.metadata.deletion_timestamp = Some(Time(time(2)));
        cache.apply_session(&deleting);
        assert!(cache.sessions_requiring_heartbeats().all(|session| session.uid != "c"));
        assert!(drain(&mut cache).is_empty());
        cache.remove_session(&key("a"));
        cache.remove_session(&key("manual"));
        let expired_session = HeartbeatSession::from_session(&session("b", Some(2))).unwrap();
        cache.forget_heartbeat_session(&expired_session);
        cache.retain_sessions(&[].into());
        let mut all = drain(&mut cache);
        all.sort();
        assert_eq!(all, ["a", "c"]);
        cache.remove_session(&key("a"));
        assert!(drain(&mut cache).is_empty());
    }

    #[test]
    fn running_agent_keeps_session_alive() {
        let mut cache = Cache::default();
        let mut timer = HeartbeatTimer::default();
        let mut job = job(RUNNING);
        cache.apply_job(&job);
        let id = Agent::from_job(&job).unwrap().id;
        let mut session = session("a", Some(1));
        let status = session.status.get_or_insert_default();
        status.agent = serde_json::from_value(json!({
            "kind": "Job", "namespace": id.namespace, "name": id.name, "uid": id.uid,
        }))
        .unwrap();
        cache.apply_session(&session);
        for now in [0, 100, 200] {
            assert!(expired(&mut timer, &cache, now).is_empty());
        }
        // The time starts when the agent ends.
        job.metadata.deletion_timestamp = Some(Time(time(1)));
        cache.apply_job(&job);
        assert!(expired(&mut timer, &cache, 201).is_empty());
        assert_eq!(expired(&mut timer, &cache, 261), ["a"]);
    }
}
