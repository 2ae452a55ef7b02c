use super::*;
use crate::{
    identity::Requester,
    policy::{JoinRights, Policy, PolicySet},
    sessions::fixtures::session,
};

fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.into(), name: name.into() }
}

fn index() -> Index {
    let mut index = Index::default();
    index.replace(vec![session("shop", "a").key("k").tracker(5)], 10);
    index
}

/// What happened since the start, a change a line.
fn told(index: &Index) -> String {
    let show = |tracker: Option<&Arc<Tracker>>| {
        tracker.map_or("-".to_owned(), |tracker| {
            let by = tracker.status.stopped_by.as_deref().unwrap_or_default();
            format!("{}@{}{by}", tracker.status.state, tracker.version)
        })
    };
    let changes = index.changes(0).unwrap();
    let changes = changes.map(|change| {
        let (before, after) = (show(change.before.as_ref()), show(change.after.as_ref()));
        format!("{}: {before} → {after}", change.version)
    });
    changes.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_deletion_shows_as_terminated_at_its_version() {
    let mut index = index();
    let key = key("shop", "a");
    let after = index.close(&key, 12, &Ending::stopped("bob", 100)).unwrap();
    assert_eq!((after.version, index.version()), (12, 12));
    assert!(index.close(&key, 12, &Ending::unknown(100)).is_none(), "told once");
    assert_eq!(told(&index), "12: pending@5 → terminated@12bob");
    assert!(!index.lapse(100) && index.lapse(101));
    assert_eq!(told(&index), "12: pending@5 → terminated@12bob, 12: terminated@12bob → -");
    assert!(index.is_empty());
    // Who starts at that version is told what came after it, which has none.
    assert_eq!(index.after(11).unwrap(), 0);
    assert_eq!(index.after(12).unwrap(), 1);
    assert_eq!(index.after(13).unwrap(), 2);
}

#[test]
fn a_name_used_again_hides_what_ended() {
    let mut index = index();
    let ended = index.close(&key("shop", "a"), 12, &Ending::unknown(100)).unwrap();
    let mut again = session("shop", "a").session(13);
    again.metadata.uid = Some("another".into());
    index.apply(Arc::new(Tracker::new(&again).unwrap()));
    assert_eq!(index.get(&key("shop", "a")).unwrap().uid, "another");
    assert!(matches!(index.restore(&ended), Restored::Hidden));
    assert!(!index.lapse(1000), "a live one stays");
    assert_eq!(
        told(&index),
        "12: pending@5 → terminated@12, 13: terminated@12 → -, 13: - → pending@13"
    );
}

#[test]
fn what_others_kept() {
    let live = session("shop", "a").tracker(5);
    let kept = |uid: &str, by: Option<&str>, at: i64| {
        let mut session = session("shop", "a").session(5);
        session.metadata.uid = Some(uid.into());
        let ending = by.map_or(Ending::unknown(at), |by| Ending::stopped(by, at));
        Arc::new(Tracker::new(&session).unwrap().ended(&ending, 12).unwrap())
    };
    let uid = &live.uid.clone();
    for (name, first, second, shown, by) in [
        ("more is known", kept(uid, None, 100), kept(uid, Some("bob"), 101), true, Some("bob")),
        ("less is known", kept(uid, Some("bob"), 100), kept(uid, None, 101), true, Some("bob")),
        ("the same", kept(uid, Some("bob"), 100), kept(uid, Some("bob"), 100), true, Some("bob")),
        (
            "another, later",
            kept("x", Some("bob"), 100),
            kept("y", Some("eve"), 101),
            true,
            Some("eve"),
        ),
        (
            "another, earlier",
            kept("x", Some("bob"), 100),
            kept("y", Some("eve"), 99),
            false,
            Some("bob"),
        ),
    ] {
        for synced in [true, false] {
            let mut index = Index::default();
            if synced {
                index.replace(Vec::new(), 12);
            }
            assert!(matches!(index.restore(&first), Restored::Shown), "{name}");
            let restored = index.restore(&second);
            assert_eq!(matches!(restored, Restored::Shown), shown, "{name}");
            index.replace(Vec::new(), 12);
            let tracker = index.get(&key("shop", "a")).unwrap();
            assert_eq!(tracker.status.stopped_by.as_deref(), by, "{name}");
            assert_eq!(index.ended.len(), 1, "{name}");
            assert_eq!(index.head() > 0, synced, "{name}: nobody had seen anything");
        }
    }
    // A list that begins with what others kept.
    let mut index = Index::default();
    let restored = index.restore(&kept(uid, None, 100));
    assert!(matches!(restored, Restored::Shown));
    index.replace(vec![live], 12);
    assert!(index.get(&key("shop", "a")).unwrap().ended.is_none(), "it lives");
    assert!(index.ended.is_empty());
    index.forget(&key("shop", "a"), uid);
    assert_eq!(index.len(), 1, "only what has ended is forgotten");
}

/// Two replicas that were told different things show the same, and it stays.
#[test]
fn what_replicas_tell_differently_is_disputed() {
    let ended =
        |ending: &Ending| Arc::new(session("shop", "a").tracker(5).ended(ending, 12).unwrap());
    let [alice, bob] = ["alice", "bob"].map(|by| ended(&Ending::stopped(by, 100)));
    let over = ended(&Ending { reason: "its agent ended".into(), by: None, at: 101 });
    for (first, second) in [(&alice, &bob), (&bob, &alice), (&over, &bob)] {
        let mut index = index();
        index.remove(&key("shop", "a"), 12);
        index.restore(first);
        let Restored::Disputed(kept) = index.restore(second) else {
            panic!("one of them is believed");
        };
        assert_eq!(kept.ending(), Some(Ending::disputed(100)));
        // What was written in between is written over; then it is at rest.
        assert!(matches!(index.restore(first), Restored::Disputed(_)));
        assert!(matches!(index.restore(&kept), Restored::Shown));
        let unknown = ended(&Ending::unknown(102));
        assert!(matches!(index.restore(&unknown), Restored::Shown));
        let shown = index.get(&key("shop", "a")).unwrap();
        assert_eq!(shown.ending(), Some(Ending::disputed(100)));
    }
}

#[test]
fn what_is_missing_from_a_list_has_ended() {
    let mut index = index();
    let ended = index.close(&key("shop", "a"), 12, &Ending::unknown(100));
    let uid = ended.unwrap().uid.clone();
    index.apply(session("shop", "b").tracker(13));
    let closed = index.replace_closing(Vec::new(), 20, |tracker| {
        assert_eq!(*tracker.key.name, *"b", "the other has ended already");
        Some(Ending::stopped("bob", 200))
    });
    assert_eq!(closed.len(), 1);
    assert_eq!(index.len(), 2);
    assert_eq!(index.get(&key("shop", "b")).unwrap().version, 20);
    index.forget(&key("shop", "a"), &uid);
    assert_eq!(index.len(), 1);
}

#[test]
fn no_more_than_so_many() {
    let mut index = Index::default();
    index.replace(Vec::new(), 1);
    for at in 0..=MAX_ENDED {
        let version = at as u64 + 2;
        index.apply(session("shop", &format!("s{at}")).tracker(version));
        let at = i64::try_from(at).unwrap();
        index.close(&key("shop", &format!("s{at}")), version, &Ending::unknown(at));
    }
    assert_eq!(index.len(), MAX_ENDED);
    assert!(index.get(&key("shop", "s0")).is_none(), "the oldest went");
}

#[test]
fn where_a_right_to_join_would_show_more() {
    let mut index = Index::default();
    index.replace(
        vec![
            session("a", "own").owned_by("bob").key("k").tracker(1),
            session("b", "plain").owned_by("alice").tracker(2),
            session("c", "one").owned_by("alice").key("k").tracker(3),
            session("c", "two").owned_by("alice").key("k").tracker(4),
            session("c-d", "ports").owned_by("alice").port(80, Some("f")).tracker(5),
            session("secret", "hidden").owned_by("alice").key("k").tracker(6),
        ],
        10,
    );
    let bob = Requester { username: "bob".into(), ..Requester::default() };
    let set = |yaml: &str| {
        let (policy, errors) = Policy::read("p", &serde_saphyr::from_str(yaml).unwrap());
        assert_eq!(errors, []);
        PolicySet::new("", [policy])
    };
    let hidden = "{deny: {rules: [{resources: ['*'], verbs: [list, read], where: tracker.namespace == 'secret'}]}}";
    let no_join = "{deny: {rules: [{resources: ['*'], verbs: [join]}]}}";
    for (namespace, policy, expected) in [
        (None, hidden, &["c", "c-d"][..]),
        (Some("c"), hidden, &["c"]),
        (Some("a"), hidden, &[]),
        (Some("nowhere"), hidden, &[]),
        (None, no_join, &[]),
    ] {
        let viewer = set(policy).viewer(&bob, JoinRights::Nowhere);
        let found = index.withheld(namespace, &viewer);
        let found: Vec<&str> = found.iter().map(|name| &**name).collect();
        assert_eq!(found, expected, "{namespace:?}");
    }
}
