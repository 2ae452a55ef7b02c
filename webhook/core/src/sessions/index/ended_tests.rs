use super::*;
use crate::sessions::fixtures::session;

fn key(namespace: &str, name: &str) -> TrackerKey {
    TrackerKey { namespace: namespace.into(), name: name.into() }
}

fn index() -> Index {
    let mut index = Index::default();
    index.replace(vec![session("shop", "a").key("k").tracker(5)], 10);
    index
}

/// Returns all changes since the start as text.
fn history(index: &Index) -> String {
    let show = |tracker: Option<&Arc<Tracker>>| {
        tracker.map_or("-".to_owned(), |tracker| {
            let by = tracker.status.stopped_by.as_deref().unwrap_or_default();
            format!("{}@{}{by}", tracker.status.state, tracker.version)
        })
    };
    let changes = index.changes_from(0).unwrap();
    let changes = changes.map(|change| {
        let (before, after) = (show(change.before.as_ref()), show(change.after.as_ref()));
        format!("{}: {before} → {after}", change.version)
    });
    changes.collect::<Vec<_>>().join(", ")
}

#[test]
fn terminates_at_version_of_deletion() {
    let mut index = index();
    let key = key("shop", "a");
    let after = index.terminate(&key, 12, &Ending::stopped("bob", 100)).unwrap();
    assert_eq!((after.version, index.version()), (12, 12));
    assert!(index.terminate(&key, 12, &Ending::unknown(100)).is_none(), "terminates only once");
    assert_eq!(history(&index), "12: pending@5 → terminated@12bob");
    assert!(!index.remove_ended_before(100) && index.remove_ended_before(101));
    assert_eq!(history(&index), "12: pending@5 → terminated@12bob, 12: terminated@12bob → -");
    assert!(index.is_empty());
    // A watch that resumes at the version of an unversioned change receives that change.
    assert_eq!(index.sequence_after(11).unwrap(), 0);
    assert_eq!(index.sequence_after(12).unwrap(), 1);
    assert_eq!(index.sequence_after(13).unwrap(), 2);
}

#[test]
fn live_session_replaces_ended_session_of_same_name() {
    let mut index = index();
    let ended = index.terminate(&key("shop", "a"), 12, &Ending::unknown(100)).unwrap();
    let mut again = session("shop", "a").session(13);
    again.metadata.uid = Some("another".into());
    index.apply(Arc::new(Tracker::new(&again).unwrap()));
    assert_eq!(index.get(&key("shop", "a")).unwrap().uid, "another");
    assert!(matches!(index.restore(&ended), RestoreOutcome::Ignored));
    assert!(!index.remove_ended_before(1000), "live sessions are retained");
    assert_eq!(
        history(&index),
        "12: pending@5 → terminated@12, 13: terminated@12 → -, 13: - → pending@13"
    );
}

#[test]
fn restores_from_records() {
    let live = session("shop", "a").tracker(5);
    let recorded = |uid: &str, by: Option<&str>, at: i64| {
        let mut session = session("shop", "a").session(5);
        session.metadata.uid = Some(uid.into());
        let ending = by.map_or(Ending::unknown(at), |by| Ending::stopped(by, at));
        Arc::new(Tracker::new(&session).unwrap().terminated(&ending, 12).unwrap())
    };
    let uid = &live.uid.clone();
    for (name, first, second, shown, by) in [
        (
            "more is known",
            recorded(uid, None, 100),
            recorded(uid, Some("bob"), 101),
            true,
            Some("bob"),
        ),
        (
            "less is known",
            recorded(uid, Some("bob"), 100),
            recorded(uid, None, 101),
            true,
            Some("bob"),
        ),
        (
            "the same",
            recorded(uid, Some("bob"), 100),
            recorded(uid, Some("bob"), 100),
            true,
            Some("bob"),
        ),
        (
            "another, later",
            recorded("x", Some("bob"), 100),
            recorded("y", Some("eve"), 101),
            true,
            Some("eve"),
        ),
        (
            "another, earlier",
            recorded("x", Some("bob"), 100),
            recorded("y", Some("eve"), 99),
            false,
            Some("bob"),
        ),
    ] {
        for synced in [true, false] {
            let mut index = Index::default();
            if synced {
                index.replace(Vec::new(), 12);
            }
            assert!(matches!(index.restore(&first), RestoreOutcome::Shown), "{name}");
            let restored = index.restore(&second);
            assert_eq!(matches!(restored, RestoreOutcome::Shown), shown, "{name}");
            index.replace(Vec::new(), 12);
            let tracker = index.get(&key("shop", "a")).unwrap();
            assert_eq!(tracker.status.stopped_by.as_deref(), by, "{name}");
            assert_eq!(index.ended.len(), 1, "{name}");
            assert_eq!(
                index.next_sequence() > 0,
                synced,
                "{name}: no change before the initial list"
            );
        }
    }
    // Restoring a record before the initial list, which has the session still live.
    let mut index = Index::default();
    let restored = index.restore(&recorded(uid, None, 100));
    assert!(matches!(restored, RestoreOutcome::Shown));
    index.replace(vec![live], 12);
    assert!(index.get(&key("shop", "a")).unwrap().ended_at.is_none(), "the session is live");
    assert!(index.ended.is_empty());
    index.remove_ended(&key("shop", "a"), uid);
    assert_eq!(index.len(), 1, "a live session is not removed");
}

#[test]
fn contradicting_records_become_disputed_on_every_replica() {
    let ended =
        |ending: &Ending| Arc::new(session("shop", "a").tracker(5).terminated(ending, 12).unwrap());
    let [alice, bob] = ["alice", "bob"].map(|by| ended(&Ending::stopped(by, 100)));
    let agent_ended = ended(&Ending { reason: "its agent ended".into(), by: None, at: 101 });
    for (first, second) in [(&alice, &bob), (&bob, &alice), (&agent_ended, &bob)] {
        let mut index = index();
        index.remove(&key("shop", "a"), 12);
        index.restore(first);
        let RestoreOutcome::Disputed(disputed) = index.restore(second) else {
            panic!("the index kept one of the reasons");
        };
        assert_eq!(disputed.ending(), Some(Ending::disputed(100)));
        // A stale record is overwritten once more. The disputed record itself is stable.
        assert!(matches!(index.restore(first), RestoreOutcome::Disputed(_)));
        assert!(matches!(index.restore(&disputed), RestoreOutcome::Shown));
        let unknown = ended(&Ending::unknown(102));
        assert!(matches!(index.restore(&unknown), RestoreOutcome::Shown));
        let tracker = index.get(&key("shop", "a")).unwrap();
        assert_eq!(tracker.ending(), Some(Ending::disputed(100)));
    }
}

#[test]
fn terminates_sessions_missing_from_list() {
    let mut index = index();
    let ended = index.terminate(&key("shop", "a"), 12, &Ending::unknown(100));
    let uid = ended.unwrap().uid.clone();
    index.apply(session("shop", "b").tracker(13));
    let terminated = index.replace_and_terminate(Vec::new(), 20, |tracker| {
        assert_eq!(*tracker.key.name, *"b", "the other session has ended already");
        Some(Ending::stopped("bob", 200))
    });
    assert_eq!(terminated.len(), 1);
    assert_eq!(index.len(), 2);
    assert_eq!(index.get(&key("shop", "b")).unwrap().version, 20);
    index.remove_ended(&key("shop", "a"), &uid);
    assert_eq!(index.len(), 1);
}

#[test]
fn evicts_oldest_ended_sessions_beyond_limit() {
    let mut index = Index::default();
    index.replace(Vec::new(), 1);
    for at in 0..=MAX_ENDED {
        let version = at as u64 + 2;
        index.apply(session("shop", &format!("s{at}")).tracker(version));
        let at = i64::try_from(at).unwrap();
        index.terminate(&key("shop", &format!("s{at}")), version, &Ending::unknown(at));
    }
    assert_eq!(index.len(), MAX_ENDED);
    assert!(index.get(&key("shop", "s0")).is_none(), "the oldest session is evicted");
}
