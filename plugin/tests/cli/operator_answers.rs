//! mirrord's own operator: answers that are easily taken for others.

use serde_json::{Value, json};

use crate::{
    fake::{Fake, status},
    operator::{operator, operator_of, sessions},
};

#[test]
fn a_session_is_known_by_its_id_whatever_its_object_is_called() {
    let item = json!({
        "metadata": { "name": "5223981140706293421" },
        "spec": { "session": sessions()[0] },
    });
    let list = json!({ "items": [item] }).to_string();
    let fake = Fake::new().answer("GET /namespaces/default/sessions", 200, list);
    let server = operator_of(fake, true).start();
    let text = server.run("describe 487F4F2B6D2376AD").went_well();
    assert!(text.contains("deployment/counter\n"), "{text}");
    server.run("kill 487F4F2B6D2376AD").went_well();
    let lines = server.lines();
    assert_eq!(lines.last().unwrap(), "DELETE /sessions/5223981140706293421");
    // What kubectl needs to be told, if the operator doesn't.
    let json: Value = serde_json::from_str(&server.run("list -o json").went_well()).unwrap();
    assert_eq!(json["items"][0]["apiVersion"], "operator.metalbear.co/v1");
    assert_eq!(json["items"][0]["kind"], "Session");
}

#[test]
fn no_dry_run_is_left_to_the_operator() {
    let server = operator(true).start();
    for line in [
        "kill 487F4F2B6D2376AD --dry-run=server",
        "delete --all --dry-run=server",
        "kill-all --dry-run=server",
        "kill-all -A --previews --dry-run=server",
    ] {
        let ran = server.run(line);
        assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{line}: {ran:?}");
        assert!(ran.messages.contains("use --dry-run=client"), "{line}: {ran:?}");
    }
    server.run("kill 487F4F2B6D2376AD --dry-run=client").went_well();
    let lines = server.lines();
    assert!(!lines.iter().any(|line| line.starts_with("DELETE")), "{lines:?}");
}

#[test]
fn what_the_operator_has_not_is_no_missing_installation() {
    let gone = json!({
        "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no session",
    });
    // A failure, or a success that says it.
    for code in [404, 200] {
        let line = "DELETE /sessions/5223981140706293421";
        let server = operator_of(Fake::new().answer(line, code, gone.to_string()), true).start();
        let message = server.run("kill 487F4F2B6D2376AD").failed();
        assert!(
            message.contains("\"487F4F2B6D2376AD\" not found in namespace \"default\""),
            "{message}"
        );
        server.run("kill 487F4F2B6D2376AD --ignore-not-found").went_well();
        let ran = server.run("kill-all");
        assert!(ran.messages.contains("had ended already"), "{ran:?}");
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    // How older operators say that they have no such route.
    let old = status(404, "Failed to parse error data", "404 page not found", &json!({}));
    let fake = Fake::new().answer("DELETE /sessions/5223981140706293421", 404, old.clone()).answer(
        "DELETE /sessions",
        404,
        old,
    );
    let server = operator_of(fake, true).start();
    for line in ["kill 487F4F2B6D2376AD", "kill-all -A --previews --yes"] {
        let message = server.run(line).failed();
        assert!(message.contains("cannot stop sessions"), "{line}: {message}");
        assert!(!message.contains("not installed"), "{line}: {message}");
    }
}

#[test]
fn an_operator_that_does_not_tell_is_not_without_sessions() {
    let list = "GET /namespaces/default/sessions";
    let own = "GET /mirrordoperators/operator";
    let no_route = status(404, "failed to parse", "no such route", &json!({}));
    let forbidden = |resource: &str| {
        let message = format!(
            "{resource} is forbidden: User \"dev\" cannot get resource \"{resource}\" in API group \"operator.metalbear.co\" at the cluster scope"
        );
        status(403, "Forbidden", &message, &json!({}))
    };
    let silent = json!({ "kind": "MirrordOperator", "spec": {} }).to_string();
    for (name, list_answer, own_answer, expected) in [
        ("no status", (404, no_route.clone()), (200, silent.clone()), "lists no sessions"),
        (
            "forbidden status",
            (404, no_route.clone()),
            (403, forbidden("mirrordoperators")),
            "cannot get mirrordoperators",
        ),
        ("forbidden list", (403, forbidden("sessions")), (404, no_route), "cannot get sessions"),
        (
            "forbidden list, and no status",
            (403, forbidden("sessions")),
            (200, silent),
            "cannot get sessions",
        ),
    ] {
        let fake = Fake::new().answer(list, list_answer.0, list_answer.1).answer(
            own,
            own_answer.0,
            own_answer.1,
        );
        let server = operator_of(fake, true).start();
        for line in ["list", "delete --all"] {
            let message = server.run(line).failed();
            assert!(message.contains(expected), "{name}, {line}: {message}");
        }
    }
}

#[test]
fn no_smaller_collection_is_asked_of_it() {
    let fake = Fake::new()
        .forbid("GET /namespaces/default/sessions", "list", Some("default"))
        .forbid("GET /mirrordoperators/operator", "get", None);
    let server = operator_of(fake, true).start();
    let message = server.run("kill-all --yes").failed();
    assert!(message.contains("cannot list sessions"), "{message}");
    let lines = server.lines();
    assert!(!lines.iter().any(|line| line.starts_with("DELETE")), "{lines:?}");
}
