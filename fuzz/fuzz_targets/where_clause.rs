//! Fuzzes the `where` language: printed expressions parse to the same expression and result.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_core::where_clause::{Folded, Tracker, User, WhereClause};

fn holds(clause: &WhereClause, user: &User<'_>, tracker: &Tracker<'_>) -> bool {
    match clause.fold(user) {
        Folded::Nothing => false,
        Folded::Everything => true,
        Folded::Residual(filter) => filter.matches(tracker),
    }
}

fuzz_target!(|source: &str| {
    let clause = match WhereClause::parse(source) {
        Ok(clause) => clause,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let shown = clause.to_string();
    assert!(!shown.contains('\n') && !shown.contains('\u{1b}'), "{shown}");
    // A printed expression may exceed the limit of the source; its meaning is the same.
    let again = WhereClause::parse(&shown).ok();
    if let Some(again) = &again {
        assert_eq!(*again, clause, "{shown}");
    } else {
        assert!(shown.len() > source.len(), "{shown}");
    }
    let opposite = WhereClause::parse(&format!("!({source}\n)")).ok();
    let traits = BTreeMap::from([
        ("team".to_owned(), vec!["red".to_owned(), String::new()]),
        ("k".to_owned(), vec![]),
    ]);
    let roles = ["devs".to_owned(), "sre".to_owned()];
    let users = [
        User { name: "alice", roles: &roles, traits: &traits },
        User { name: "", roles: &[], traits: &BTreeMap::new() },
    ];
    let joined = ["bob".to_owned(), "alice".to_owned()];
    let trackers = [
        Tracker {
            session_id: "487f4f2b6d2376ad",
            kind: "job",
            state: "running",
            hostname: "a.local",
            login: "Alice",
            namespace: "default",
            target: "deployment/ip-visit-counter",
            cluster: "west",
            kube_cluster: "west",
            host_user: "alice",
            host_roles: &roles,
            joined: &joined,
        },
        Tracker::default(),
    ];
    for user in &users {
        for tracker in &trackers {
            let held = holds(&clause, user, tracker);
            if let Some(opposite) = &opposite {
                assert_ne!(holds(opposite, user, tracker), held, "{shown}");
            }
        }
    }
});
