//! mirrord's own operator: responses that are easily misinterpreted.

use serde_json::{Value, json};

use crate::{
    fake::{Fake, status},
    operator::{operator, operator_with_rules, sessions},
};

#[test]
fn finds_sessions_by_id_and_not_by_object_name() {
    let item = json!({
        "metadata": { "name": "5223981140706293421" },
        "spec": { "session": sessions()[0] },
    });
    let list = json!({ "items": [item] }).to_string();
    let fake = Fake::new().respond("GET /namespaces/default/sessions", 200, list);
    let server = operator_with_rules(fake, true).start();
    let text = server.run("describe 487F4F2B6D2376AD").succeeds();
    assert!(text.contains("deployment/counter\n"), "{text}");
    server.run("kill 487F4F2B6D2376AD").succeeds();
    let lines = server.lines();
    assert_eq!(lines.last().unwrap(), "DELETE /sessions/5223981140706293421");
    // kubectl needs these fields even if the operator omits them.
    let json: Value = serde_json::from_str(&server.run("list -o json").succeeds()).unwrap();
    assert_eq!(json["items"][0]["apiVersion"], "operator.metalbear.co/v1");
    assert_eq!(json["items"][0]["kind"], "Session");
}

#[test]
fn rejects_server_side_dry_runs() {
    let server = operator(true).start();
    for line in [
        "kill 487F4F2B6D2376AD --dry-run=server",
        "delete --all --dry-run=server",
        "kill-all --dry-run=server",
        "kill-all -A --previews --dry-run=server",
    ] {
        let output = server.run(line);
        assert_eq!((output.code, &*output.out), (Some(1), ""), "{line}: {output:?}");
        assert!(output.messages.contains("use --dry-run=client"), "{line}: {output:?}");
    }
    server.run("kill 487F4F2B6D2376AD --dry-run=client").succeeds();
    let lines = server.lines();
    assert!(!lines.iter().any(|line| line.starts_with("DELETE")), "{lines:?}");
}

#[test]
fn distinguishes_missing_sessions_from_missing_installations() {
    let not_found = json!({
        "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no session",
    });
    // A failure, or a success code with a Status of failure.
    for code in [404, 200] {
        let line = "DELETE /sessions/5223981140706293421";
        let server =
            operator_with_rules(Fake::new().respond(line, code, not_found.to_string()), true)
                .start();
        let message = server.run("kill 487F4F2B6D2376AD").fails();
        assert!(
            message.contains("\"487F4F2B6D2376AD\" not found in namespace \"default\""),
            "{message}"
        );
        server.run("kill 487F4F2B6D2376AD --ignore-not-found").succeeds();
        let output = server.run("kill-all");
        assert!(output.messages.contains("had ended already"), "{output:?}");
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    // The response of older operators for a missing route.
    let old = status(404, "Failed to parse error data", "404 page not found", &json!({}));
    let fake = Fake::new()
        .respond("DELETE /sessions/5223981140706293421", 404, old.clone())
        .respond("DELETE /sessions", 404, old);
    let server = operator_with_rules(fake, true).start();
    for line in ["kill 487F4F2B6D2376AD", "kill-all -A --previews --yes"] {
        let message = server.run(line).fails();
        assert!(message.contains("cannot stop sessions"), "{line}: {message}");
        assert!(!message.contains("not installed"), "{line}: {message}");
    }
}

#[test]
fn distinguishes_a_missing_list_from_an_empty_list() {
    let list_path = "GET /namespaces/default/sessions";
    let operator_path = "GET /mirrordoperators/operator";
    let no_route = status(404, "failed to parse", "no such route", &json!({}));
    let forbidden = |resource: &str| {
        let message = format!(
            "{resource} is forbidden: User \"dev\" cannot get resource \"{resource}\" in API group \"operator.metalbear.co\" at the cluster scope"
        );
        status(403, "Forbidden", &message, &json!({}))
    };
    let without_sessions = json!({ "kind": "MirrordOperator", "spec": {} }).to_string();
    for (name, list_response, operator_response, expected) in [
        (
            "no status",
            (404, no_route.clone()),
            (200, without_sessions.clone()),
            "lists no sessions",
        ),
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
            (200, without_sessions),
            "cannot get sessions",
        ),
    ] {
        let fake = Fake::new().respond(list_path, list_response.0, list_response.1).respond(
            operator_path,
            operator_response.0,
            operator_response.1,
        );
        let server = operator_with_rules(fake, true).start();
        for line in ["list", "delete --all"] {
            let message = server.run(line).fails();
            assert!(message.contains(expected), "{name}, {line}: {message}");
        }
    }
}

#[test]
fn never_deletes_a_collection_per_namespace() {
    let fake = Fake::new()
        .forbid("GET /namespaces/default/sessions", "list", Some("default"))
        .forbid("GET /mirrordoperators/operator", "get", None);
    let server = operator_with_rules(fake, true).start();
    let message = server.run("kill-all --yes").fails();
    assert!(message.contains("cannot list sessions"), "{message}");
    let lines = server.lines();
    assert!(!lines.iter().any(|line| line.starts_with("DELETE")), "{lines:?}");
}
