use super::*;
use crate::{
    policy::{
        JoinRights,
        fixtures::{policies, requester},
    },
    sessions::{Ending, fixtures::session},
};

#[test]
fn decides_who_may_join() {
    let live = session("shop", "s").owned_by("alice").key("avi").joined(["carol"]).tracker(5);
    let ended = live.terminated(&Ending::stopped("bob", 9), 6).unwrap();
    let participants: Vec<String> = (0..MAX_PARTICIPANTS).map(|n| format!("u{n}")).collect();
    let full = session("shop", "s").owned_by("alice").joined(participants).tracker(5);
    let no_join = "deny: {rules: [{resources: ['*'], verbs: [join]}]}";
    let no_read =
        "deny: {rules: [{resources: ['*'], verbs: [read], where: user.metadata.name == 'bob'}]}";
    let ok = |joined: &[&str]| Ok(Some(joined.iter().map(|name| (*name).to_owned()).collect()));
    for (name, tracker, policy, user, expected) in [
        ("another user", &*live, "{}", "bob", ok(&["carol", "bob"])),
        ("the owner", &live, "{}", "alice", Ok(None)),
        ("a participant", &live, "{}", "carol", Ok(None)),
        ("the owner, denied", &live, no_join, "alice", Ok(None)),
        ("a participant, denied", &live, no_join, "carol", Ok(None)),
        ("denied", &live, no_join, "bob", Err((403, "denied by p spec.deny.rules[0]"))),
        ("hidden", &live, no_read, "bob", Err((404, "\"s\" not found"))),
        ("ended", &ended, "{}", "alice", Err((410, "has ended: stopped by bob"))),
        ("ended and hidden", &ended, no_read, "bob", Err((404, "not found"))),
        ("full", &full, "{}", "bob", Err((403, "256 users have joined already"))),
        ("full, a participant", &full, "{}", "u7", Ok(None)),
    ] {
        let requester = requester(user);
        let viewer = policies(policy).viewer(&requester, JoinRights::Everywhere);
        match (decide(tracker, &viewer, &requester), expected) {
            (Ok(joined), Ok(expected)) => assert_eq!(joined, expected, "{name}"),
            (Err(error), Err((code, text))) => {
                let status = error.status().to_string();
                let unescaped = status.replace('\\', "");
                assert_eq!(error.code, code, "{name}: {status}");
                assert!(unescaped.contains(text), "{name}: {status}");
                assert!(!status.contains("avi"), "{name}: {status}");
            }
            (decided, _) => panic!("{name}: {decided:?}"),
        }
    }
}

#[test]
fn responds_with_key_and_participants() {
    let tracker = session("shop", "s").owned_by("alice").key("avi").joined(["carol"]).tracker(5);
    let joined = ["carol".to_owned(), "bob".to_owned()];
    assert_eq!(
        response(&tracker, Some(&joined)),
        json!({
            "kind": "SessionJoin",
            "apiVersion": "visibility.operator.metalbear.co/v1",
            "metadata": { "name": "s", "namespace": "shop" },
            "status": {
                "key": "avi",
                "header": { "name": "baggage", "value": "mirrord-session=avi" },
                "participants": ["alice", "carol", "bob"],
            },
        })
    );
    let keyless = session("shop", "s").owned_by("alice").tracker(5);
    assert_eq!(response(&keyless, None)["status"], json!({ "participants": ["alice"] }));
}

#[test]
fn validates_bodies() {
    let good = r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionJoin"}"#;
    let deep = format!(
        "{}{}",
        &good[..good.len() - 1],
        ",\"spec\":{\"a\":".to_owned() + &"[".repeat(9999)
    );
    for (body, code) in [
        ("", None),
        (" \n", None),
        (good, None),
        ("{}", Some(400)),
        ("[]", Some(400)),
        ("[\"visibility.operator.metalbear.co/v1\",\"SessionJoin\"]", Some(400)),
        ("null", Some(400)),
        ("kind: SessionJoin", Some(400)),
        (&good.replace("Join", "Report"), Some(400)),
        (&good.replace("/v1", "/v2"), Some(400)),
        (&deep, Some(400)),
        ("{\"kind\":{\"a\":1}}", Some(400)),
    ] {
        let result = validate(body.as_bytes()).map_err(|error| error.code);
        assert_eq!(result.err(), code, "{body:.100}");
    }
    assert!(validate(b"\xff\xfe").is_err());
}
