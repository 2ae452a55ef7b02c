//! Table tests of the `where` language. Tests with random expressions are in
//! `webhook/core/tests/where_clause/`.
// Each case is one row.
#![allow(clippy::too_many_lines)]

mod errors;
mod semantics;

use super::*;

/// User `alice@corp` with groups `devs` and `payments` and two values of the trait `team`.
struct Alice {
    roles: Vec<String>,
    traits: Traits,
}

fn alice() -> Alice {
    Alice {
        roles: vec!["devs".into(), "payments".into()],
        traits: Traits::from([("team".into(), vec!["blue".into(), "green".into()])]),
    }
}

impl Alice {
    fn user(&self) -> User<'_> {
        User { name: "alice@corp", roles: &self.roles, traits: &self.traits }
    }
}

/// Evaluates an expression for Alice on a session of Bob that she has joined.
fn evaluate(expression: &str) -> bool {
    let (alice, joined) = (alice(), ["alice@corp".to_owned()]);
    let tracker = Tracker {
        session_id: "487f4f2b6d2376ad",
        kind: "job",
        state: "running",
        hostname: "bobs-mac.local",
        login: "Bob",
        namespace: "prod",
        target: "deployment/payments",
        cluster: "west",
        kube_cluster: "west",
        host_user: "bob@corp",
        host_roles: &["ops".to_owned(), "devs".to_owned()],
        joined: &joined,
    };
    let clause = WhereClause::parse(expression).unwrap();
    match clause.fold(&alice.user()) {
        Folded::Nothing => false,
        Folded::Everything => true,
        Folded::Residual(filter) => filter.matches(&tracker),
    }
}

#[test]
fn maps_sessions_to_trackers() {
    use mirrord_sessions_crds::{
        AgentReference, Client, Owner, Session, SessionSpec, SessionStatus,
    };

    let spec = SessionSpec {
        target: "deployment/a".into(),
        client: Some(Client {
            username: Some("Bob".into()),
            hostname: Some("mac".into()),
            version: None,
        }),
        owner: Some(Owner { username: "bob".into(), uid: None, groups: vec!["ops".into()] }),
        ..SessionSpec::default()
    };
    let mut session = Session::new("487f4f2b6d2376ad", spec);
    session.metadata.namespace = Some("prod".into());
    let tracker = Tracker::from_session(&session, "west");
    assert_eq!(
        (tracker.session_id, tracker.namespace, tracker.target),
        ("487f4f2b6d2376ad", "prod", "deployment/a")
    );
    assert_eq!((tracker.login, tracker.hostname, tracker.cluster), ("Bob", "mac", "west"));
    assert_eq!((tracker.kind, tracker.state), ("process", "pending"));
    assert_eq!((tracker.host_user, tracker.host_roles), ("bob", &["ops".to_owned()][..]));

    for (agent, kind) in [("Job", "job"), ("Pod", "ephemeral")] {
        session.status = Some(SessionStatus {
            participants: vec!["alice".into()],
            agent: Some(AgentReference { kind: agent.into(), ..AgentReference::default() }),
            ..SessionStatus::default()
        });
        let tracker = Tracker::from_session(&session, "west");
        assert_eq!(tracker.kind, kind);
        assert!(tracker.participants().eq(["bob", "alice"]));
    }
    session.spec.owner = None;
    assert!(Tracker::from_session(&session, "west").participants().eq(["alice"]));
}
