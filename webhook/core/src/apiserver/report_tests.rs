use std::sync::Arc;

use mirrord_sessions_crds::{Client, PortType, SessionStatus};

use super::*;
use crate::{
    policy::{JoinRights, Policy, PolicySet, fixtures::policies},
    sessions::{Ending, fixtures::session},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn requester(name: &str, uid: Option<&str>) -> Requester {
    Requester { username: name.into(), uid: uid.map(str::to_owned), ..Requester::default() }
}

fn report(ports: &[u16]) -> SessionReportSpec {
    let ports = ports.iter().map(|port| Port { port: *port, type_: PortType::Steal, filter: None });
    SessionReportSpec { ports: ports.collect(), ..SessionReportSpec::default() }
}

#[test]
fn only_owner_may_report() {
    let deny =
        "deny: {rules: [{resources: ['*'], verbs: ['*'], where: user.metadata.name != 'bob'}]}";
    let (policy, _) = Policy::from_spec("p", &serde_saphyr::from_str(deny).unwrap());
    let policies = PolicySet::new("", [policy]);
    let live = session("shop", "s").owned_by("alice").uid("1").key("s3cret").tracker(5);
    let ended = live.terminated(&Ending::unknown(9), 6).unwrap();
    for (name, tracker, user, uid, code) in [
        // The owner may report even if policies hide the session from them.
        ("the owner", &*live, "alice", Some("1"), None),
        ("the owner, without a uid", &live, "alice", None, None),
        ("another user of the same name", &live, "alice", Some("2"), Some(404)),
        ("another user, who sees it", &live, "bob", None, Some(403)),
        ("another user, who doesn't see it", &live, "carol", None, Some(404)),
        ("the owner, after the end", &ended, "alice", Some("1"), Some(410)),
        ("another user, after the end", &ended, "carol", None, Some(404)),
    ] {
        let requester = requester(user, uid);
        let viewer = policies.viewer(&requester, JoinRights::Nowhere);
        let decided =
            decide(tracker, &viewer, &requester, &report(&[80]), ReportPeriod::default(), at(100));
        assert_eq!(decided.err().map(|error| error.code), code, "{name}");
    }
}

#[test]
fn unchanged_reports_are_coalesced() {
    use SessionState::{Pending, Running};
    let alice = requester("alice", None);
    let viewer = PolicySet::default().viewer(&alice, JoinRights::Nowhere);
    let tracker = |last_seen, state| {
        session("shop", "s")
            .owned_by("alice")
            .port(80, None)
            .last_seen(at(last_seen), state)
            .tracker(5)
    };
    for (name, last_seen, state, ports, written) in [
        ("just now", 90, Running, &[80][..], false),
        ("a while ago", 85, Running, &[80], true),
        ("at once", 100, Running, &[80], false),
        ("in the future, by another clock", 160, Running, &[80], true),
        ("other ports", 90, Running, &[80, 81], true),
        ("no ports", 90, Running, &[], true),
        ("not running yet", 90, Pending, &[80], true),
    ] {
        let tracker = tracker(last_seen, state);
        let decided =
            decide(&tracker, &viewer, &alice, &report(ports), ReportPeriod::default(), at(100))
                .unwrap();
        assert_eq!(decided.status.is_some(), written, "{name}");
        let response = decided.response(&tracker, &report(ports));
        let expires = if written { "1970-01-01T00:02:40Z" } else { "1970-01-01T00:02:" };
        let expires_at = response["status"]["expiresAt"].as_str().unwrap();
        assert!(expires_at.starts_with(expires), "{name}: {response}");
        assert_eq!(response["status"]["periodSeconds"], 20);
    }
    let tracker = tracker(0, Pending);
    let decided =
        decide(&tracker, &viewer, &alice, &report(&[]), ReportPeriod::default(), at(100)).unwrap();
    assert_eq!(
        decided.status.unwrap(),
        json!({
            "state": "running", "ports": [], "portSummary": null, "processes": [],
            "lastSeen": "1970-01-01T00:01:40Z",
        })
    );
}

#[test]
fn reports_fill_in_an_unknown_version() {
    let viewer = policies("{}").viewer(&requester("alice", None), JoinRights::Nowhere);
    let now = at(100);
    for (name, created, reported, expected) in [
        ("unknown", None, Some("3.250.0"), Some("3.250.0")),
        ("known", Some("3.1.0"), Some("3.250.0"), None),
        ("not reported", None, None, None),
        ("empty", None, Some(""), None),
    ] {
        let mut object = session("shop", "s").owned_by("alice").session(5);
        object.spec.client =
            Some(Client { version: created.map(str::to_owned), ..Client::default() });
        let tracker = Tracker::new(&object).unwrap();
        let report = SessionReportSpec {
            client_version: reported.map(str::to_owned),
            ..SessionReportSpec::default()
        };
        let decided = decide(
            &tracker,
            &viewer,
            &requester("alice", None),
            &report,
            ReportPeriod::default(),
            now,
        );
        let status = decided.unwrap().status.unwrap();
        assert_eq!(status.get("clientVersion").and_then(Value::as_str), expected, "{name}");
        // Trackers show the version once it is stored.
        object.status = Some(SessionStatus {
            client_version: expected.map(str::to_owned),
            ..SessionStatus::default()
        });
        let shown = Tracker::new(&object).unwrap().spec.client_version.clone();
        assert_eq!(shown.as_deref(), expected.or(created), "{name}");
    }
    for invalid in ["a\u{1b}", &"1".repeat(65)] {
        let body = json!({ "kind": "SessionReport", "spec": { "clientVersion": invalid } });
        assert!(parse(body.to_string().as_bytes()).is_err(), "{invalid:?}");
    }
}

#[test]
fn final_report_ends_session_if_policies_allow() {
    let live = || session("shop", "s").owned_by("alice").port(80, None);
    let created_for_agent = || {
        let live = Arc::into_inner(live().tracker(5)).unwrap();
        Arc::new(live.with_agent("Job/a/b/c"))
    };
    let last = SessionReportSpec { ended: true, ..report(&[80]) };
    let all = PolicySet::default;
    let none = || policies("deny: {rules: [{resources: ['*'], verbs: [delete]}]}");
    let jobs = || {
        policies(
            "deny: {rules: [{resources: ['*'], verbs: [delete], where: tracker.kind == 'job'}]}",
        )
    };
    for (name, live, user, set, refused) in [
        ("the owner", live().tracker(5), "alice", all(), ""),
        ("another user", live().tracker(5), "bob", all(), "only the owner"),
        ("created for an agent", created_for_agent(), "alice", all(), "ends with its agent"),
        // A session without an agent would also end by expiry.
        ("undeletable", live().tracker(5), "alice", none(), ""),
        ("adopted", live().agent("Job").tracker(5), "alice", all(), ""),
        (
            "adopted and undeletable",
            live().agent("Job").tracker(5),
            "alice",
            none(),
            "denied by p spec.deny.rules[0]",
        ),
        (
            "undeletable by its agent's kind",
            live().agent("Job").tracker(5),
            "alice",
            jobs(),
            "denied by p spec.deny.rules[0]",
        ),
        ("another kind of agent", live().agent("Pod").tracker(5), "alice", jobs(), ""),
    ] {
        let requester = requester(user, None);
        let viewer = set.viewer(&requester, JoinRights::Nowhere);
        let decided = decide(&live, &viewer, &requester, &last, ReportPeriod::default(), at(100));
        match decided {
            Ok(decision) if refused.is_empty() => {
                assert!(decision.ends && decision.status.is_none(), "{name}: {decision:?}");
                let response = decision.response(&live, &last);
                assert_eq!(response["spec"]["ended"], true, "{name}");
                assert_eq!(response["status"], json!({}), "{name}: no next report is expected");
            }
            Err(error) if !refused.is_empty() => {
                assert_eq!(error.code, 403, "{name}");
                let status = error.status().to_string();
                assert!(status.contains(refused), "{name}: {status}");
            }
            decided => panic!("{name}: {decided:?}"),
        }
    }
}

#[test]
fn validates_bodies() {
    let body = |spec: &Value| {
        json!({ "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionReport", "spec": spec })
            .to_string()
    };
    let port =
        |filter: &str| json!({ "ports": [{ "port": 80, "type": "steal", "filter": filter }] });
    let many =
        |count: usize| json!({ "ports": vec![json!({ "port": 1, "type": "mirror" }); count] });
    for (spec, wrong) in [
        (json!({}), None),
        (port("header=é"), None),
        (port(&"é".repeat(4096)), None),
        (many(1024), None),
        (json!({ "processes": vec!["node"; 64] }), None),
        (json!({ "ended": true }), None),
        (json!({ "ended": "yes" }), Some("spec: ")),
        (Value::Null, Some("spec: Required value")),
        (json!([]), Some("expected an object")),
        (json!("x"), Some("expected an object")),
        (json!({ "ports": {} }), Some("expected a sequence")),
        (json!({ "ports": [{ "port": 0, "type": "steal" }] }), Some("between 1 and 65535")),
        (json!({ "ports": [{ "port": 65536, "type": "steal" }] }), Some("spec: ")),
        (json!({ "ports": [{ "port": -1, "type": "steal" }] }), Some("spec: ")),
        (json!({ "ports": [{ "port": 1, "type": "copy" }] }), Some("unknown variant")),
        (port(&"é".repeat(4097)), Some("spec.ports[0].filter: may not be longer")),
        (port("a\u{1b}[2J"), Some("control or invisible characters")),
        (port("a\u{202e}b"), Some("invisible")),
        (many(1025), Some("at most 1024 items")),
        (json!({ "processes": vec!["a"; 65] }), Some("at most 64 items")),
        (json!({ "processes": ["a".repeat(254)] }), Some("spec.processes[0]")),
        (json!({ "processes": [1] }), Some("spec: ")),
    ] {
        match (parse(body(&spec).as_bytes()), wrong) {
            (Ok(_), None) => {}
            (Err(error), Some(wrong)) => {
                let status = error.status().to_string();
                assert_eq!(error.code, 422, "{status}");
                assert!(status.contains(wrong), "{wrong}: {status}");
            }
            (result, _) => panic!("{wrong:?}: {result:?}"),
        }
    }
    for body in ["", "{", "[]", "{}"] {
        assert_eq!(parse(body.as_bytes()).unwrap_err().code, 400, "{body}");
    }
}

#[test]
fn periods_have_limits_and_expiry() {
    let period = |seconds| ReportPeriod::new(Duration::from_secs(seconds));
    assert_eq!(period(20), Some(ReportPeriod::default()));
    for (seconds, expiry, window) in [(1, 3, 0), (20, 60, 15), (600, 1800, 450)] {
        let period = period(seconds).unwrap();
        assert_eq!(period.expiry().as_secs(), expiry);
        assert_eq!(period.coalescing_window(), window);
    }
    assert_eq!((period(0), period(601)), (None, None));
    assert_eq!(ReportPeriod::new(Duration::from_millis(1500)), None);
}
