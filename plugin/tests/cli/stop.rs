use serde_json::json;

use crate::{
    fake::{Fake, Response, session, status},
    plugin::CommandOutput,
};

pub(crate) fn deletion_line(id: &str, namespace: &str) -> String {
    format!("session.operator.metalbear.co \"{id}\" deleted from {namespace} namespace\n")
}

pub(crate) fn denied_status() -> String {
    let message = "admission webhook \"guard\" denied the request: not yours";
    status(403, "Forbidden", message, &json!({}))
}

pub(crate) const DENIED_MESSAGE: &str = "Error from server (Forbidden): session.operator.metalbear.co \"B\" not deleted: admission webhook \"guard\" denied the request: not yours\n";

pub(crate) fn three_sessions() -> Fake {
    Fake::new().session("default", "a").session("default", "b").session("default", "c")
}

fn terminating_session(id: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": { "name": id, "namespace": "default", "finalizers": ["example.com/hold"], "deletionTimestamp": "2026-11-22T20:00:00Z" },
    })
}

fn tracker(name: &str, uid: &str, state: &str) -> serde_json::Value {
    let mut tracker = session("default", name);
    tracker["metadata"]["uid"] = json!(uid);
    tracker["status"]["state"] = json!(state);
    tracker
}

#[test]
fn reports_deleted_missing_and_denied_sessions() {
    let server = three_sessions()
        .respond("DELETE /namespaces/default/sessions/b", 403, denied_status())
        .start();
    for command in ["delete a nope a b c", "kill --id a nope --id b c"] {
        let server = if server.session_names().len() == 3 {
            &server
        } else {
            &three_sessions()
                .respond("DELETE /namespaces/default/sessions/b", 403, denied_status())
                .start()
        };
        let CommandOutput { code, out, messages } = server.run(command);
        assert_eq!(code, Some(1));
        let mut deleted: Vec<&str> = out.lines().collect();
        deleted.sort_unstable();
        assert_eq!(
            deleted.join("\n") + "\n",
            deletion_line("a", "default") + &deletion_line("c", "default")
        );
        assert!(messages.contains("\"nope\" not found in namespace \"default\""), "{messages}");
        assert!(messages.contains(&DENIED_MESSAGE.replace("\"B\"", "\"b\"")), "{messages}");
        assert_eq!(messages.lines().count(), 2, "{messages}");
        assert_eq!(server.session_names(), ["b"]);
        let lines = server.lines();
        let requests = lines.iter().filter(|line| line.starts_with("DELETE "));
        assert_eq!(requests.count(), 4, "{lines:?}");
    }
}

#[test]
fn accepts_ids_in_either_case_and_with_a_resource() {
    for typed in
        ["487F4F2B6D2376AD", "487f4f2b6d2376ad", "session.operator.metalbear.co/487f4f2b6d2376ad"]
    {
        let server = Fake::new().session("shop", "487f4f2b6d2376ad").start();
        let text = server.run(&format!("delete -n shop {typed}")).succeeds();
        assert_eq!(text, deletion_line("487F4F2B6D2376AD", "shop"));
        assert!(server.session_names().is_empty());
    }
}

#[test]
fn deletes_in_every_namespace() {
    let server = Fake::new()
        .session("shop", "487f4f2b6d2376ad")
        .session("default", "twice")
        .session("shop", "twice")
        .start();
    assert_eq!(
        server.run("delete -A 487F4F2B6D2376AD").succeeds(),
        deletion_line("487F4F2B6D2376AD", "shop")
    );
    assert!(
        server.run("delete -A 487F4F2B6D2376AD").fails().contains("not found in any namespace")
    );
    assert_eq!(server.run("delete -A --ignore-not-found 487F4F2B6D2376AD").succeeds(), "");
    let message = server.run("delete -A twice").fails();
    assert!(
        message.contains("more than one namespace") && message.contains("(default, shop)"),
        "{message}"
    );
    assert_eq!(server.session_names().len(), 2);
}

#[test]
fn deletes_nothing_in_dry_runs() {
    let server = three_sessions().start();
    let text = server.run("delete a --dry-run=server").succeeds();
    assert_eq!(text, deletion_line("a", "default").replace('\n', " (server dry run)\n"));
    // The first request lists sessions with the prefix.
    assert!(server.requests()[1].body.contains("\"dryRun\":[\"All\"]"));
    let text = server.run("delete a --dry-run=client").succeeds();
    assert_eq!(text, deletion_line("a", "default").replace('\n', " (dry run)\n"));
    assert_eq!(server.lines()[3], "GET /namespaces/default/sessiontrackers/a");
    assert_eq!(server.run("kill-all --dry-run=server").succeeds().lines().count(), 3);
    assert_eq!(server.run("kill-all --dry-run=client").succeeds().lines().count(), 3);
    assert_eq!(server.session_names().len(), 3);
}

#[test]
fn warns_of_deprecated_values() {
    const FORCED: &str = "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n";
    let client = deletion_line("a", "default").replace('\n', " (dry run)\n");
    for (flag, out, expected) in [
        ("--dry-run=client --cascade", &*client, ""),
        (
            "--dry-run",
            &client,
            "warning: --dry-run is deprecated and can be replaced with --dry-run=client.\n",
        ),
        (
            "--dry-run=server --dry-run=unchanged",
            &client,
            "warning: --dry-run is deprecated and can be replaced with --dry-run=client.\n",
        ),
        (
            "--dry-run=T",
            &client,
            "warning: --dry-run=T is deprecated (boolean value) and can be replaced with --dry-run=client.\n",
        ),
        ("--dry-run=client --force", &client.replace("deleted", "force deleted"), FORCED),
        (
            "--dry-run=client --cascade=true",
            &client,
            "warning: --cascade=true is deprecated (boolean value) and can be replaced with --cascade=background.\n",
        ),
        (
            "--dry-run=false",
            &deletion_line("a", "default"),
            "warning: --dry-run=false is deprecated (boolean value) and can be replaced with --dry-run=none.\n",
        ),
    ] {
        let server = three_sessions().start();
        let output = server.run(&format!("delete a {flag}"));
        assert_eq!(output.code, Some(0), "{flag}: {output:?}");
        assert_eq!((&*output.out, &*output.messages), (out, expected), "{flag}");
    }
}

#[test]
fn reports_fatal_errors_once() {
    let server = three_sessions()
        .respond(
            "DELETE /namespaces/default/sessions/b",
            401,
            status(401, "Unauthorized", "Unauthorized", &json!({})),
        )
        .start();
    let CommandOutput { code, out, messages } = server.run("delete a b c");
    assert_eq!((code, out), (Some(1), deletion_line("a", "default")));
    assert!(messages.starts_with("Not deleted: b, c\nerror: You must be logged in"), "{messages}");
    assert_eq!(server.session_names(), ["b", "c"]);
}

#[test]
fn reports_sessions_blocked_by_finalizers() {
    let one = terminating_session("b").to_string();
    let all = serde_json::json!({ "kind": "SessionList", "items": [terminating_session("b")] })
        .to_string();
    let server = Fake::new()
        .session("default", "b")
        .respond("DELETE /namespaces/default/sessions/b", 200, one)
        .start();
    let without_list = Fake::new()
        .forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
        .respond("DELETE /namespaces/default/sessions", 200, all)
        .start();
    let expected = "error: session \"b\" in namespace \"default\" is marked for deletion and blocked by its finalizers (example.com/hold): the client that set them must remove them\n";
    for (server, line) in
        [(&server, "delete b"), (&server, "kill-all"), (&without_list, "kill-all")]
    {
        let CommandOutput { code, out, messages } = server.run(line);
        assert_eq!((code, out.as_str(), messages.as_str()), (Some(1), "", expected), "{line}");
    }
}

#[test]
fn accepts_prefixes_of_ids() {
    let server = Fake::new()
        .session("default", "487f4f2b6d2376ad")
        .session("default", "487fffffffffffff")
        .session("default", "9")
        .session("default", "9a")
        .object(tracker("c0ffee0000000000", "u", "terminated"))
        .start();
    let message = server.run("delete 487F").fails();
    assert_eq!(
        message,
        "error: \"487f\" is the beginning of more than one session ID, type more of it: 487F4F2B6D2376AD (Avi/avi@x@host, deployment/counter); 487FFFFFFFFFFFFF (Avi/avi@x@host, deployment/counter)"
    );
    // An ended session can't be stopped, and a complete ID is no prefix.
    assert!(server.run("delete c0").fails().contains("not found"));
    assert_eq!(
        server.run("delete 487f4F").succeeds(),
        deletion_line("487F4F2B6D2376AD", "default")
    );
    assert_eq!(server.run("delete 9").succeeds(), deletion_line("9", "default"));
    assert_eq!(server.run("delete -A 48").succeeds(), deletion_line("487FFFFFFFFFFFFF", "default"));
    assert_eq!(server.session_names(), ["9a", "c0ffee0000000000"]);
}

#[test]
fn rejects_short_names_that_are_prefixes() {
    let fake = || Fake::new().session("default", "487f").session("default", "487f4f2b6d2376ad");
    let server = fake().start();
    for command in ["delete", "delete -A", "kill --id", "describe", "describe -A", "list", "join"] {
        for typed in ["487f", "487F"] {
            let message = server.run(&format!("{command} {typed}")).messages;
            assert_eq!(
                message,
                "error: \"487f\" is a session, and the beginning of other session IDs: type more of an ID, or \"session/487f\" for the one of that name: 487f (Avi/avi@x@host, deployment/counter); 487F4F2B6D2376AD (Avi/avi@x@host, deployment/counter)\n",
                "{command} {typed}"
            );
        }
    }
    assert_eq!(server.session_names().len(), 2);
    for (command, left) in [
        ("delete session/487f", "487f4f2b6d2376ad"),
        ("kill -A --id session/487f", "487f4f2b6d2376ad"),
        ("delete 487f4", "487f"),
        ("delete 487F4F2B6D2376AD", "487f"),
    ] {
        let server = fake().start();
        assert_eq!(server.run(command).code, Some(0), "{command}");
        assert_eq!(server.session_names(), [left], "{command}");
    }
    for command in ["describe session/487f", "list session/487f", "join session/487f"] {
        assert_eq!(server.run(command).code, Some(0), "{command}");
    }
}

#[test]
fn resolves_all_prefixes_before_the_first_deletion() {
    let server = Fake::new()
        .session("default", "48fa000000000000")
        .session("default", "4800000000000000")
        .session("default", "web-10")
        .session("default", "abc0")
        .start();
    for typed in ["delete 48f 48", "delete -A 48f 48", "kill --id 48f 48"] {
        let message = server.run(typed).fails();
        assert!(message.contains("\"48\" is the beginning of more than one"), "{message}");
    }
    // IDs chosen by users, and IDs with a resource, are complete.
    for typed in [
        "delete web-1",
        "delete abc",
        "delete session/48f",
        "delete -A web-1",
        "delete -A session/48f",
    ] {
        let message = server.run(typed).fails();
        assert!(message.contains("not found"), "{typed}: {message}");
    }
    assert_eq!(server.session_names().len(), 4);
    // A session that is named twice is deleted once.
    assert_eq!(
        server.run("delete 48f 48FA000000000000").succeeds(),
        deletion_line("48FA000000000000", "default")
    );
}

#[test]
fn backs_off_after_expired_watches() {
    let server = three_sessions()
        .rule(|request| {
            let expired = status(410, "Expired", "too old resource version", &json!({}));
            request.query.contains_key("watch").then_some(Response {
                code: 410,
                headers: "",
                body: expired,
            })
        })
        // The session never ends.
        .rule(|request| {
            let running = json!({ "metadata": { "resourceVersion": "7" }, "items": [tracker("a", "uid-a", "running")] });
            (request.line() == "GET /namespaces/default/sessiontrackers").then(|| Response {
                code: 200,
                headers: "",
                body: running.to_string(),
            })
        })
        .start();
    let output = server.run("delete session/a --timeout 1200ms");
    assert!(output.messages.contains("timed out waiting"), "{output:?}");
    // Retries are half a second apart: at most three rounds of list and watch follow the deletion.
    let lines = server.lines();
    assert!((3..=7).contains(&lines.len()), "{lines:?}");
}

#[test]
fn needs_only_permissions_of_the_user_role() {
    // The role mirrord-operator-user grants no read access to Sessions.
    let reads = |request: &crate::fake::ReceivedRequest| {
        request.method == "GET" && request.line().contains("/sessions")
    };
    for command in [
        "list",
        "describe a",
        "delete a --dry-run=client",
        "delete a --dry-run=server",
        "delete a b",
        "kill c",
        "kill-all",
    ] {
        let server = three_sessions().session("default", "d").start();
        let output = server.run(command);
        assert_eq!((output.code, output.messages.as_str()), (Some(0), ""), "{command}");
        assert!(!server.requests().iter().any(reads), "{command}");
    }
}

#[test]
fn deletes_by_selectors_and_filters() {
    let fake = || {
        let mut eves = session("default", "e");
        eves["spec"]["owner"]["username"] = json!("eve");
        eves["spec"]["target"] = json!("pod/x");
        eves["status"]["ports"] = json!([{ "port": 81, "type": "mirror" }]);
        eves["metadata"]["labels"] = json!({ "run": "e" });
        three_sessions()
            .object(eves)
            .object(tracker("over", "u", "terminated"))
            .session("shop", "s")
    };
    for (arguments, deleted) in [
        ("delete --all", vec!["a", "b", "c", "e"]),
        ("delete --all -A", vec!["a", "b", "c", "e", "s"]),
        ("delete --user eve", vec!["e"]),
        ("delete --user Eve", vec![]),
        ("kill --target po/x", vec!["e"]),
        ("kill --target counter", vec!["a", "b", "c"]),
        ("delete --mine", vec!["a", "b", "c"]),
        ("delete -l run=e", vec!["e"]),
        ("delete --field-selector spec.target=pod/x", vec!["e"]),
        ("delete --port 80", vec!["a", "b", "c"]),
        ("kill-all --user eve", vec!["e"]),
        ("kill-all -A --target deployment/counter", vec!["a", "b", "c", "s"]),
        ("delete --all --dry-run=client", vec![]),
    ] {
        let server = fake().start();
        let before = server.session_names();
        let output = server.run(arguments);
        assert_eq!(output.code, Some(0), "{arguments}: {}", output.messages);
        let remaining = server.session_names();
        let mut actual: Vec<String> = before;
        actual.retain(|name| !remaining.contains(name));
        assert_eq!(actual, deleted, "{arguments}");
        // The UID precondition spares a later session with the same name.
        let deletes = server.requests();
        let mut deletes = deletes.iter().filter(|request| request.method == "DELETE");
        assert!(deletes.all(|request| request.body.contains("\"uid\":\"uid-")), "{arguments}");
    }
    let server = fake().start();
    let output = server.run("delete --user nobody");
    assert_eq!(
        (output.code, output.out.as_str(), output.messages.as_str()),
        (Some(0), "", "No sessions found in default namespace.\n")
    );
}

#[test]
fn rejects_conflicting_flags_like_kubectl() {
    let server = three_sessions().start();
    for (arguments, expected) in [
        ("delete a --all", "error: name cannot be provided when a selector is specified"),
        ("delete a -l x=y", "error: name cannot be provided when a selector is specified"),
        ("kill --id a --user eve", "error: name cannot be provided when a selector is specified"),
        ("delete --all -l x=y", "error: setting 'all' parameter but found a non empty selector."),
        ("delete", "error: resource(s) were provided, but no name was specified"),
        ("delete a -o yaml", "error: unexpected -o output mode: yaml. We only support '-o name'"),
        ("delete a -iy", "error: --interactive and --yes cannot be specified together"),
        ("kill-all -o wide", "error: unexpected -o output mode: wide. We only support '-o name'"),
    ] {
        let message = server.run(arguments).fails();
        assert!(message.starts_with(expected), "{arguments}: {message}");
    }
    assert!(server.all_requests().is_empty());
}

#[test]
fn rejects_empty_selectors() {
    let server = three_sessions().start();
    for selector in
        [["-l", ""], ["--selector", " "], ["--field-selector", ""], ["--field-selector", ","]]
    {
        for (command, expected) in [
            ("delete", "error: resource(s) were provided, but no name was specified"),
            ("kill", "error: resource(s) were provided, but no name was specified"),
            ("kill-all", "error: the selector is empty"),
            ("kill-all --user eve", "error: the selector is empty"),
        ] {
            let output = server.command(command).args(selector).output().unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && message.starts_with(expected),
                "{command} {selector:?}: {message}"
            );
        }
    }
    assert!(server.all_requests().is_empty());
}

#[test]
fn prints_names_and_sends_grace_periods() {
    let server = three_sessions().start();
    assert_eq!(
        server.run("delete a -o name --grace-period=5").succeeds(),
        "session.operator.metalbear.co/a\n"
    );
    let body: serde_json::Value = serde_json::from_str(&server.requests()[1].body).unwrap();
    assert_eq!(body["gracePeriodSeconds"], 5);
    server.run("delete b").succeeds();
    let requests = server.requests();
    let body = &requests[requests.len() - 2].body;
    assert!(body.contains("DeleteOptions"), "{body}");
    assert!(!body.contains("gracePeriod"), "{body}");
}

#[test]
fn waits_until_trackers_show_the_end() {
    let running = json!({ "metadata": { "resourceVersion": "7" }, "items": [tracker("a", "uid-a", "running")] });
    let event = |kind: &str, state: &str| {
        format!("{}\n", json!({ "type": kind, "object": tracker("a", "uid-a", state) }))
    };
    let watch = format!("{}{}", event("MODIFIED", "running"), event("MODIFIED", "terminated"));
    let server = three_sessions()
        .rule(move |request| {
            let is_list = request.line() == "GET /namespaces/default/sessiontrackers";
            let body = match request.query.get("resourceVersion").map(String::as_str) {
                Some("7") => watch.clone(),
                _ => running.to_string(),
            };
            is_list.then_some(Response { code: 200, headers: "", body })
        })
        .start();
    assert_eq!(server.run("delete a").succeeds(), deletion_line("a", "default"));
    let lines = server.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let query = &server.requests()[3].query;
    assert_eq!(query["fieldSelector"], "metadata.name=a");
    assert_eq!(query["watch"], "true");

    // The session never ends.
    let running = json!({ "items": [tracker("a", "uid-a", "running")] }).to_string();
    let server =
        three_sessions().respond("GET /namespaces/default/sessiontrackers", 200, running).start();
    let output = server.run("delete a --timeout 300ms");
    assert_eq!(
        (output.code, output.out, output.messages.as_str()),
        (
            Some(1),
            deletion_line("a", "default"),
            "error: timed out waiting for the condition on sessions/a\n"
        )
    );
    assert_eq!(server.run("delete b --wait=false").succeeds(), deletion_line("b", "default"));
}
