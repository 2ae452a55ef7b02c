use mirrord_sessions_core::sessions::Ending;
use mirrord_sessions_crds::{Session, SessionSpec};

use super::*;
use crate::clock::unix_now;

pub(crate) fn tracker(name: &str, version: u64) -> Tracker {
    let mut session = Session::new(name, SessionSpec::default());
    session.metadata.namespace = Some("shop".into());
    session.metadata.uid = Some(format!("uid-{name}"));
    session.metadata.resource_version = Some(version.to_string());
    Tracker::new(&session).unwrap()
}

#[test]
fn list_does_not_restore_expired_sessions() {
    let (store, _ended) = Store::with_retention(Duration::from_mins(10));
    let names = || {
        let index = store.index();
        let names = index.trackers().map(|tracker| tracker.key.name.to_string());
        names.collect::<Vec<_>>()
    };
    let ended = |name: &str, seconds_ago: i64| {
        let ending = Ending::unknown(unix_now() - seconds_ago);
        Arc::new(tracker(name, 5).terminated(&ending, 6).unwrap())
    };
    let records = [ended("late", 60), ended("long-ago", 660)];
    store.replace(vec![Arc::new(tracker("live", 7))], &records, 10);
    assert_eq!(names(), ["late", "live"], "the first list");
    let head = store.index().next_sequence();
    store.replace(vec![Arc::new(tracker("live", 7))], &records, 20);
    store.remove_expired();
    assert_eq!(names(), ["late", "live"], "another list");
    assert_eq!(store.index().next_sequence(), head, "no change is recorded");
}
