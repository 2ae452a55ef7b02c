//! mirrord's own operator, with the wire format of mirrord's public sources.

use serde_json::{Value, json};

use crate::{
    fake::{Fake, ReceivedRequest, Response, status},
    plugin::CommandOutput,
};

const GROUP: &str = "/apis/operator.metalbear.co/v1";

pub(crate) fn sessions() -> Vec<Value> {
    vec![
        json!({
            "id": "487F4F2B6D2376AD", "duration_secs": 63, "user": "Avi/avi@x.co@avis-macbook",
            "target": "deployment/counter", "namespace": "default",
            "locked_ports": [{ "port": 80, "kind": "steal", "filter": "header=a" }], "key": "avi",
            "http_filter": { "headerFilter": "baggage: .*avi.*" },
        }),
        // A legacy form of ports and of an ID.
        json!({
            "id": "mc-9D1C0E5B7A3F2468", "duration_secs": 3600, "user": "Eve/eve@x.co@host",
            "target": "pod/x/container/c", "namespace": "shop", "locked_ports": [[81, "mirror", null]],
        }),
        json!({ "id": "FF", "duration_secs": 1, "user": "preview-env", "target": "deployment/p", "namespace": "default" }),
        json!({ "duration_secs": 5, "user": "Old/old@x@host", "target": "targetless" }),
    ]
}

/// Returns an operator that serves lists, or only its own status.
pub(crate) fn operator(lists: bool) -> Fake {
    operator_with_rules(Fake::new(), lists)
}

/// Returns an operator that overrides some responses with the rules of `fake`.
pub(crate) fn operator_with_rules(fake: Fake, lists: bool) -> Fake {
    let answer = |body: Value| Some(Response { code: 200, headers: "", body: body.to_string() });
    fake.without_trackers().rule(move |request: &ReceivedRequest| {
        let path = request.path.strip_prefix(GROUP)?;
        let item = |session: Value| json!({ "metadata": { "name": session["id"] }, "spec": { "session": session } });
        match (request.method.as_str(), path) {
            ("GET", "") => answer(json!({ "kind": "APIResourceList", "resources": [
                { "name": "mirrordoperators" }, { "name": "sessions" }, { "name": "targets" },
            ]})),
            ("GET", "/mirrordoperators/operator") => {
                answer(json!({ "kind": "MirrordOperator", "status": { "sessions": sessions() } }))
            }
            ("GET", _) if !lists => Some(Response {
                code: 404,
                headers: "",
                body: status(404, "failed to parse", "no such route", &json!({})),
            }),
            ("GET", "/sessions") => {
                answer(json!({ "items": sessions().into_iter().map(item).collect::<Vec<_>>() }))
            }
            ("GET", namespace) => {
                let namespace = namespace.strip_prefix("/namespaces/")?.strip_suffix("/sessions")?;
                let items = sessions()
                    .into_iter()
                    .filter(|session| session["namespace"] == namespace);
                answer(json!({ "items": items.map(item).collect::<Vec<_>>() }))
            }
            ("DELETE", "/sessions/5223981140706293421") => {
                answer(json!({ "kind": "Status", "status": "Success", "code": 200 }))
            }
            ("DELETE", "/sessions/11320939349358355560") => answer(json!({
                "kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "it is busy",
            })),
            ("DELETE", "/sessions") => answer(json!({ "kind": "Status", "status": "Success" })),
            ("DELETE", _) => Some(Response {
                code: 404,
                headers: "",
                body: status(404, "NotFound", "no such session", &json!({ "name": "x" })),
            }),
            _ => None,
        }
    })
}

#[test]
fn lists_sessions_from_list_or_status() {
    for lists in [true, false] {
        let server = operator(lists).start();
        let text = server.run("list -A -o table").succeeds();
        for expected in [
            "| 487F4F2B6D2376AD ",
            "| deployment/counter ",
            "| Avi/avi@x.co@avis-macbook ",
            "| Port: 80, Type: steal, Filter: header=a ",
            "| 1m 3s ",
            "| mc-9D1C0E5B7A3F2468 ",
            "| Port: 81, Type: mirror ",
            "| N/A ",
        ] {
            assert!(text.contains(expected), "{lists} {expected}: {text}");
        }
        assert!(!text.contains("preview-env"), "{text}");
        assert!(server.run("list -A --previews").succeeds().contains("preview-env"));
        let text = server.run("list --no-headers").succeeds();
        assert_eq!(text.lines().count(), 1, "{text}");
        for (filter, expected) in [
            ("--user eve@x.co", 1),
            ("--user Avi", 1),
            ("--target pod/x", 1),
            ("--port 80", 1),
            ("--field-selector spec.session.key=avi", 1),
            ("--field-selector spec.session.key=bob", 0),
        ] {
            let CommandOutput { code, out, .. } = server.run(&format!("list -A -o name {filter}"));
            assert_eq!((code, out.lines().count()), (Some(0), expected), "{filter}");
        }
        let json: Value = serde_json::from_str(&server.run("list -o json").succeeds()).unwrap();
        assert_eq!(json["items"][0]["spec"]["session"]["id"], "487F4F2B6D2376AD");
        let text = server.run("describe 487f4f2b6d2376ad -v1").out;
        for expected in [
            "Session ID:        487F4F2B6D2376AD\n",
            "Owner:             verified by mirrord's operator\n",
            "  Username:        avi@x.co\n",
            "Header Filter:     baggage: .*avi.*\n",
            "Kind:              operator\n",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
    let messages = operator(true).start().run("list -v1").messages;
    assert!(
        messages.contains("Reading sessions.operator.metalbear.co of mirrord's operator"),
        "{messages}"
    );
    let message = operator(true).start().run("list -l a=b").fails();
    assert!(message.contains("have no labels"), "{message}");
    let message = operator(true).start().run("list -w").fails();
    assert!(message.contains("can't be watched"), "{message}");
    let message = operator(true).start().run("join 487F4F2B6D2376AD").fails();
    assert!(message.contains("does not serve"), "{message}");
}

#[test]
fn deletes_by_decimal_id() {
    let server = operator(true).start();
    assert_eq!(
        server.run("kill 487F4F2B6D2376AD").succeeds(),
        "session.operator.metalbear.co \"487F4F2B6D2376AD\" deleted from default namespace\n"
    );
    assert!(server.lines().contains(&"DELETE /sessions/5223981140706293421".to_owned()));
    // A response with a success code and a Status of failure.
    let message = server.run("kill -n shop mc-9D1C").fails();
    assert!(message.contains("it is busy"), "{message}");
    // The number alone would match a session of another namespace.
    let count = server.lines().len();
    for line in ["kill -n shop 487F4F2B6D2376AD", "kill mc-9d1c0e5b7a3f2468", "kill nonsense"] {
        let message = server.run(line).fails();
        assert!(message.contains("not found in namespace"), "{line}: {message}");
    }
    let lines = server.lines().split_off(count);
    assert!(!lines.iter().any(|line| line.starts_with("DELETE")), "{lines:?}");
}

#[test]
fn never_deletes_hidden_sessions() {
    let server = operator(true).start();
    let output = server.run("kill-all -A --yes");
    assert_eq!(
        output.out,
        "session.operator.metalbear.co \"487F4F2B6D2376AD\" deleted from default namespace\n"
    );
    // One deletion is denied, and one session has no ID.
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.messages.contains("it is busy") && output.messages.contains("has no ID"),
        "{output:?}"
    );
    let mut deletes = server.lines();
    deletes.retain(|line| line.starts_with("DELETE"));
    assert_eq!(
        deletes,
        ["DELETE /sessions/5223981140706293421", "DELETE /sessions/11320939349358355560"]
    );
    // With --previews, they are deleted with all others.
    let server = operator(true).start();
    let text = server.run("kill-all -A --previews --yes").succeeds();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(server.lines(), ["GET /sessions", "DELETE /sessions"]);
    // Completion does not suggest them either.
    let suggestions = server.command("__complete").args(["delete", ""]).output();
    let suggestions = String::from_utf8(suggestions.unwrap().stdout).unwrap();
    assert!(
        suggestions.contains("487F4F2B6D2376AD") && !suggestions.contains("preview-env"),
        "{suggestions}"
    );
}

#[test]
fn deletes_sessions_of_a_namespace_one_by_one() {
    let server = operator(true).start();
    let text = server.run("kill-all").succeeds();
    assert_eq!(
        text,
        "session.operator.metalbear.co \"487F4F2B6D2376AD\" deleted from default namespace\n"
    );
    assert_eq!(
        server.lines(),
        [
            "GET /namespaces/default/sessions",
            "GET /namespaces/default/sessions",
            "DELETE /sessions/5223981140706293421"
        ]
    );
    let server = operator(true).start();
    server.run("kill-all -A --dry-run=client").succeeds();
    assert_eq!(server.lines(), ["GET /sessions"]);
    // A session without an ID does not block the others.
    let output = operator(true).start().run("delete -A --port 80 --user old@x");
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = operator(true).start().run("delete -A --user old@x");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.messages.contains("has no ID that it could be stopped by"), "{output:?}");
}

#[test]
fn status_only_reads_from_the_operator() {
    let server = operator(true).start();
    let text = server.run("status").succeeds();
    assert!(text.contains("sessions   off   mirrord's operator manages the"), "{text}");
    assert!(!text.contains("To do"), "{text}");
    assert!(text.contains("avi@x.co   1"), "{text}");
    assert!(!text.contains("preview-env"), "{text}");
    assert!(server.all_requests().iter().all(|request| request.method == "GET"));
}
