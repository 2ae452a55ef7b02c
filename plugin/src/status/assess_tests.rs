use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::json;

use super::{super::guard::tests::lists, *};
use crate::status::State;

fn bundle(year: i32, month: u8) -> String {
    let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, month, 1);
    let key = KeyPair::generate().unwrap();
    STANDARD.encode(params.self_signed(&key).unwrap().pem())
}

fn configuration(resources: &[&str], bundle: &str) -> Reading<Option<Value>> {
    let webhooks: Vec<Value> = resources
        .iter()
        .map(|resource| json!({ "clientConfig": { "caBundle": bundle }, "rules": [{ "resources": [resource] }] }))
        .collect();
    Reading::Known(Some(json!({ "webhooks": webhooks })))
}

fn api_service(available: bool, bundle: &str) -> Reading<Option<Value>> {
    let status = if available { "True" } else { "False" };
    Reading::Known(Some(json!({
        "spec": { "caBundle": bundle },
        "status": { "conditions": [{ "type": "Available", "status": status, "message": "no endpoints" }] },
    })))
}

fn deployment(ready: u64) -> Reading<Option<Value>> {
    Reading::Known(Some(json!({
        "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "image": "r/w:v1" }] } } },
        "status": { "readyReplicas": ready },
    })))
}

fn report() -> Report {
    Report { exists: Some(true), version: Some(3), latest_version: 3, ..Report::default() }
}

fn healthy() -> Facts {
    let all = ["sessions", "jobs", "pods/ephemeralcontainers"];
    let (policies, policy_bindings) = lists("");
    Facts {
        version: Reading::Known(json!({ "gitVersion": "v1.36.3" })),
        has_sessions: Reading::Known(true),
        configuration: configuration(&all, &bundle(2040, 1)),
        validating_configuration: configuration(&["sessionpolicies", "sessions"], &bundle(2040, 1)),
        policies,
        policy_bindings,
        deployment: deployment(2),
        api_service: api_service(true, &bundle(2040, 1)),
        trackers: Reading::Known(TrackerAvailability::Served),
        dry_run_creation: Reading::Known(json!({ "spec": { "owner": { "username": "avi" } } })),
        auditor: Reading::Known((Some(report()), None)),
    }
}

fn found(facts: &Facts, name: &str) -> Check {
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let checks = assess(facts, now);
    checks.into_iter().find(|check| check.name == name).unwrap()
}

#[test]
fn passes_all_checks() {
    for check in assess(&healthy(), "2030-01-01T00:00:00Z".parse().unwrap()) {
        assert_eq!(check.state, Good, "{check:?}");
        assert_eq!(check.remedy, None, "{check:?}");
    }
    assert_eq!(
        found(&healthy(), "webhook").message,
        "it stamps the owner of a new Session (2 of 2 replicas ready, r/w:v1)"
    );
    assert_eq!(
        found(&healthy(), "certificates").message,
        "CA of trackers until 2040-01-01, CA of webhook until 2040-01-01"
    );
}

#[test]
fn requires_no_api_service_guard_without_trackers() {
    let mut facts = healthy();
    facts.api_service = Reading::Known(None);
    (facts.policies, facts.policy_bindings) = lists("api-services.mirrord-sessions");
    assert_eq!(found(&facts, "guard").state, Good);
}

#[test]
fn reports_hidden_values_as_unknown() {
    let facts = Facts {
        version: Reading::Hidden,
        has_sessions: Reading::Hidden,
        configuration: Reading::Hidden,
        validating_configuration: Reading::Hidden,
        policies: Reading::Hidden,
        policy_bindings: Reading::Hidden,
        deployment: Reading::Hidden,
        api_service: Reading::Hidden,
        trackers: Reading::Hidden,
        dry_run_creation: Reading::Hidden,
        auditor: Reading::Hidden,
    };
    for check in assess(&facts, Timestamp::UNIX_EPOCH) {
        assert_eq!(check.state, Unknown, "{check:?}");
    }
}

/// Each row is a fault: the check that reports it, its state and its text.
#[test]
#[allow(clippy::too_many_lines)]
fn names_a_remedy_for_each_problem() {
    type Break = fn(&mut Facts);
    let cases: [(&str, State, &str, Break); 28] = [
        ("sessions", Problem, "has no Sessions", |facts| {
            facts.has_sessions = Reading::Known(false);
        }),
        ("guard", Problem, "no policy denies Sessions with", |facts| {
            facts.policy_bindings = Reading::Known(None);
        }),
        ("guard", Problem, "agents.mirrord-sessions isn't bound", |facts| {
            facts.policy_bindings = lists("agents.mirrord-sessions").1;
        }),
        ("guard", Problem, "sessions.mirrord-sessions does not exist", |facts| {
            facts.policies = lists("sessions.mirrord-sessions").0;
        }),
        ("guard", Problem, "api-services.mirrord-sessions does not exist", |facts| {
            (facts.policies, facts.policy_bindings) = lists("api-services.mirrord-sessions");
        }),
        ("webhook", Problem, "is not called when a Session is stopped", |facts| {
            facts.validating_configuration = Reading::Known(None);
        }),
        ("webhook", Problem, "no user can stop a Session", |facts| {
            facts.validating_configuration = configuration(&["sessions"], "");
        }),
        ("webhook", Problem, "has no CA bundle", |facts| {
            facts.configuration = Reading::Known(Some(json!({ "webhooks": [
                { "clientConfig": { "caBundle": "x" } }, { "clientConfig": {} },
            ] })));
        }),
        // A requester who may not read the configuration gets the message of the guard policy.
        ("webhook", Problem, "it was not called", |facts| {
            facts.configuration = Reading::Hidden;
            facts.dry_run_creation = Reading::Failed("Error from server (Forbidden): x is forbidden: ValidatingAdmissionPolicy 'sessions.mirrord-sessions' denied request: the Session has no spec.owner: the webhook that writes it was not asked".to_owned());
        }),
        ("webhook", Warning, "namespaces \"nope\" not found", |facts| {
            facts.dry_run_creation = Reading::Failed(
                "Error from server (NotFound): namespaces \"nope\" not found".to_owned(),
            );
        }),
        ("webhook", Problem, "no replica is ready", |facts| {
            facts.dry_run_creation = Reading::Hidden;
            facts.deployment = Reading::Known(Some(json!({ "spec": { "replicas": 0 } })));
        }),
        ("webhook", Problem, "its Deployment does not exist", |facts| {
            facts.dry_run_creation = Reading::Hidden;
            facts.deployment = Reading::Known(None);
        }),
        ("trackers", Problem, "aren't served", |facts| {
            facts.trackers = Reading::Known(TrackerAvailability::Missing);
        }),
        ("trackers", Problem, "503", |facts| {
            facts.api_service = Reading::Hidden;
            facts.trackers = Reading::Failed("503".to_owned());
        }),
        ("webhook", Problem, "its configuration does not exist", |facts| {
            facts.configuration = Reading::Known(None);
        }),
        ("webhook", Problem, "has no CA bundle", |facts| {
            facts.configuration = configuration(&["sessions"], "");
        }),
        ("webhook", Problem, "the API server can't reach it", |facts| {
            facts.dry_run_creation =
                Reading::Unavailable("the webhook \"x\" did not answer in time".to_owned());
            facts.deployment = deployment(0);
        }),
        ("webhook", Problem, "it was not called", |facts| {
            facts.dry_run_creation = Reading::Known(json!({ "spec": {} }));
        }),
        ("webhook", Warning, "a Session can't be created here: exceeded quota", |facts| {
            facts.dry_run_creation = Reading::Failed("exceeded quota".to_owned());
        }),
        ("webhook", Problem, "no replica is ready (0 of 2", |facts| {
            facts.dry_run_creation = Reading::Hidden;
            facts.deployment = deployment(0);
        }),
        ("webhook", Warning, "not every replica is ready (1 of 2", |facts| {
            facts.dry_run_creation = Reading::Hidden;
            facts.deployment = deployment(1);
        }),
        ("certificates", Problem, "expired: CA of webhook until 2029-12-01", |facts| {
            facts.configuration = configuration(&["sessions"], &bundle(2029, 12));
        }),
        ("certificates", Warning, "expiring: CA of trackers until 2030-01-15", |facts| {
            let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.not_after = date_time_ymd(2030, 1, 15);
            let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            facts.api_service = api_service(true, &STANDARD.encode(pem));
        }),
        ("certificates", Problem, "can't be read: it is not base64", |facts| {
            facts.configuration = configuration(&["sessions"], "%%%");
        }),
        ("agents", Warning, "agents aren't stamped", |facts| {
            facts.configuration = configuration(&["sessions"], "");
        }),
        ("agents", Warning, "agents that are ephemeral containers", |facts| {
            facts.configuration = configuration(&["sessions", "jobs"], "");
        }),
        ("trackers", Problem, "can't reach them: no endpoints", |facts| {
            facts.api_service = api_service(false, "");
        }),
        ("auditor role", Warning, "there is no ClusterRole", |facts| {
            let none = Report { exists: Some(false), ..Report::default() };
            facts.auditor = Reading::Known((Some(none), None));
        }),
    ];
    for (name, state, words, damage) in cases {
        let mut facts = healthy();
        damage(&mut facts);
        let check = found(&facts, name);
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.message.contains(words), "{words}: {check:?}");
        assert!(check.remedy.is_some(), "{check:?}");
    }
}

#[test]
fn reports_missing_components_as_off() {
    let facts = Facts { api_service: Reading::Known(None), ..healthy() };
    let check = found(&facts, "trackers");
    assert_eq!((check.state, check.remedy), (Off, None));
    // A requester who may not read the APIService gets the error about the missing API.
    let facts = Facts {
        api_service: Reading::Hidden,
        trackers: Reading::Known(TrackerAvailability::Missing),
        ..healthy()
    };
    let check = found(&facts, "trackers");
    assert_eq!((check.state, check.remedy), (Off, None));
}

#[test]
fn reports_every_state_of_the_auditor_role() {
    let with = |change: fn(&mut Report)| {
        let mut report = report();
        change(&mut report);
        report
    };
    let cases = [
        (with(|_| ()), Good, "version 3, the latest"),
        (with(|r| r.exists = Some(false)), Warning, "there is no ClusterRole"),
        (
            with(|r| {
                r.exists = None;
                r.message = "unknown: not read".to_owned();
            }),
            Unknown,
            "unknown: not read",
        ),
        (with(|r| r.version = Some(2)), Warning, "version 2; the latest is 3"),
        (
            with(|r| {
                r.version = None;
                r.modified = Some(true);
                r.difference = Some(vec!["-x".to_owned()]);
            }),
            Good,
            "modified or managed by others; it differs",
        ),
        (
            with(|r| {
                r.version = None;
                r.modified = Some(false);
                r.difference = Some(vec!["-x".to_owned()]);
            }),
            Good,
            "written by a later release",
        ),
    ];
    for (report, state, words) in cases {
        let facts = Facts { auditor: Reading::Known((Some(report), None)), ..healthy() };
        let check = found(&facts, "auditor role");
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.message.starts_with(words), "{check:?}");
    }
    let failing = with(|r| r.error = Some("forbidden".to_owned()));
    let facts = Facts { auditor: Reading::Known((None, Some(failing))), ..healthy() };
    assert!(found(&facts, "auditor role").message.ends_with(": forbidden"));
}
