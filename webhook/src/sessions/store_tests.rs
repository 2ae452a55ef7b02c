use mirrord_sessions_crds::{Session, SessionSpec};

use super::*;

pub(crate) fn tracker(name: &str, version: u64) -> Tracker {
    let mut session = Session::new(name, SessionSpec::default());
    session.metadata.namespace = Some("shop".into());
    session.metadata.uid = Some(format!("uid-{name}"));
    session.metadata.resource_version = Some(version.to_string());
    Tracker::new(&session).unwrap()
}

#[test]
fn a_list_brings_back_nothing_that_was_shown_for_long_enough() {
    let (store, _ended) = Store::keeping(Duration::from_mins(10));
    let names = || {
        let index = store.index();
        let names = index.all().map(|tracker| tracker.key.name.to_string());
        names.collect::<Vec<_>>()
    };
    let ended = |name: &str, seconds_ago: i64| {
        let ending = Ending::unknown(now() - seconds_ago);
        Arc::new(tracker(name, 5).ended(&ending, 6).unwrap())
    };
    let records = [ended("late", 60), ended("long-ago", 660)];
    store.replace(vec![Arc::new(tracker("live", 7))], &records, 10);
    assert_eq!(names(), ["late", "live"], "the first list");
    let head = store.index().head();
    store.replace(vec![Arc::new(tracker("live", 7))], &records, 20);
    store.lapse();
    assert_eq!(names(), ["late", "live"], "another list");
    assert_eq!(store.index().head(), head, "nothing is told");
}
