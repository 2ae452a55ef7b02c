use mirrord_sessions_plugin::{console::Console, run_on};
use serde_json::json;

use crate::{
    fake::{session, status},
    plugin::CommandOutput,
    stop::{DENIED_MESSAGE, deletion_line, denied_status, three_sessions},
};

#[test]
fn deletes_listed_sessions() {
    let server = three_sessions().session("shop", "x").start();
    let text = server.run("kill-all").succeeds();
    assert_eq!(text, ["a", "b", "c"].map(|id| deletion_line(id, "default")).concat());
    assert_eq!(
        server.lines(),
        [
            "GET /namespaces/default/sessiontrackers",
            "DELETE /namespaces/default/sessions/a",
            "DELETE /namespaces/default/sessions/b",
            "DELETE /namespaces/default/sessions/c",
            // The check that all sessions have ended.
            "GET /namespaces/default/sessiontrackers",
        ]
    );
    for (request, uid) in server.requests()[1..4].iter().zip(["uid-a", "uid-b", "uid-c"]) {
        assert!(request.body.contains(uid), "{request:?}");
    }
    assert_eq!(server.session_names(), ["x"]);
}

#[test]
fn keeps_sessions_started_after_the_list() {
    // The list is older than the session.
    let list = json!({ "items": [session("default", "a"), session("default", "b")] });
    let server = three_sessions()
        .respond("GET /namespaces/default/sessiontrackers", 200, list.to_string())
        .start();
    server.run("kill-all --wait=false").succeeds();
    assert_eq!(server.session_names(), ["c"]);
}

#[test]
fn continues_after_a_denied_deletion() {
    let server = three_sessions()
        .session("shop", "x")
        .respond("DELETE /namespaces/default/sessions/b", 403, denied_status())
        .start();
    let CommandOutput { code, out, messages } = server.run("kill-all -A");
    assert_eq!(code, Some(1));
    assert_eq!(
        out,
        deletion_line("a", "default")
            + &deletion_line("c", "default")
            + &deletion_line("x", "shop")
    );
    assert_eq!(messages, DENIED_MESSAGE.replace("\"B\"", "\"b\""));
    assert_eq!(server.session_names(), ["b"]);
}

#[test]
fn asks_for_confirmation_on_a_terminal() {
    for (arguments, answer, deleted, is_prompted) in [
        ("kill-all", "n\n", 0, true),
        ("kill-all", "", 0, true),
        ("kill-all", "y\n", 3, true),
        ("kill-all --yes", "n\n", 3, false),
        ("kill-all --dry-run=server", "n\n", 0, false),
    ] {
        let server = three_sessions().start();
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut messages, Some(Box::new(answer.as_bytes())));
        let kubeconfig = format!("--kubeconfig {}", server.kubeconfig().display());
        let line = format!("plugin {arguments} {kubeconfig}");
        assert!(run_on(&mut console, line.split(' ').map(Into::into)));
        drop(console);
        let messages = String::from_utf8(messages).unwrap();
        assert_eq!(3 - server.session_names().len(), deleted, "{arguments} {answer:?}");
        let warning = "You are about to delete the following 3 sessions:\nSESSION ID   TARGET";
        assert_eq!(messages.starts_with(warning), is_prompted, "{messages}");
        assert_eq!(
            messages.contains("Do you want to continue? (y/N): "),
            is_prompted,
            "{messages}"
        );
        assert_eq!(
            messages.contains("deletion is cancelled"),
            is_prompted && deleted == 0,
            "{messages}"
        );
    }
}

#[test]
fn deletes_the_collection_without_list_access() {
    let forbidden = || {
        three_sessions().forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
    };
    let server = forbidden().start();
    assert_eq!(server.run("kill-all").succeeds().lines().count(), 3);

    let server =
        forbidden().respond("DELETE /namespaces/default/sessions/b", 403, denied_status()).start();
    let CommandOutput { code, out, messages } = server.run("kill-all");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        messages
            .contains("denied the request: not yours\nNot all sessions of namespace \"default\""),
        "{messages}"
    );

    let server = forbidden()
        .forbid("DELETE /namespaces/default/sessions", "deletecollection", Some("default"))
        .start();
    let message = server.run("kill-all").fails();
    assert!(
        message.contains("cannot deletecollection sessions.operator.metalbear.co"),
        "{message}"
    );

    let server = three_sessions().forbid("GET /sessiontrackers", "list", None).start();
    let message = server.run("kill-all -A").fails();
    assert!(
        message.contains("create clusterrolebinding")
            && message.contains("or name a namespace with -n"),
        "{message}"
    );
    assert_eq!(server.session_names().len(), 3);
}

#[test]
fn reports_the_response_to_a_collection_delete() {
    // The response contains the deleted sessions, or a Status only.
    let deleted = json!({ "kind": "SessionList", "items": [
        { "metadata": { "name": "a", "namespace": "default" } },
        { "metadata": { "name": "new", "namespace": "default" } },
    ]});
    let success = json!({ "kind": "Status", "status": "Success" });
    let resource = "session.operator.metalbear.co";
    for (answer, expected) in [
        (deleted, deletion_line("a", "default") + &deletion_line("new", "default")),
        (success, format!("all {resource}s deleted from default namespace\n")),
    ] {
        let server = three_sessions()
            .forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
            .respond("DELETE /namespaces/default/sessions", 200, answer.to_string())
            .start();
        assert_eq!(server.run("kill-all --wait=false").succeeds(), expected);
    }
}

#[test]
fn names_the_remaining_sessions_after_a_fatal_error() {
    let down = status(503, "ServiceUnavailable", "down", &json!({}));
    let server = three_sessions()
        .session("shop", "x")
        .respond("DELETE /namespaces/default/sessions/b", 503, down)
        .start();
    let CommandOutput { code, out, messages } = server.run("kill-all -A");
    assert_eq!((code, out), (Some(1), deletion_line("a", "default")));
    assert!(
        messages.starts_with("Not deleted: b, c, x\nError from server (ServiceUnavailable): "),
        "{messages}"
    );
}

#[test]
fn reports_a_dry_run_without_list_access() {
    let server = three_sessions()
        .forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
        .start();
    let CommandOutput { code, out, messages } = server.run("kill-all --dry-run=client");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{messages}");
    assert!(messages.contains("cannot list sessiontrackers"), "{messages}");
}
