use serde_json::json;

use crate::{
    fake::{Fake, session, status},
    plugin::CommandOutput,
};

const FALLBACK: &str = "Warning: sessiontrackers.visibility.operator.metalbear.co is not served by this cluster: reading sessions.operator.metalbear.co instead\n";

#[test]
fn reads_sessions_without_trackers() {
    let server = Fake::new().session("default", "a").without_trackers().start();
    for (command, line) in [
        ("list -o name", "GET /namespaces/default/sessions"),
        ("describe a", "GET /namespaces/default/sessions/a"),
        ("delete session/a --dry-run=client", "GET /namespaces/default/sessions/a"),
        ("delete session/a", "DELETE /namespaces/default/sessions/a"),
    ] {
        let count = server.lines().len();
        let CommandOutput { out, messages, .. } = server.run(command);
        assert!(messages.starts_with(FALLBACK), "{command}: {messages}");
        assert_eq!(messages.matches("Warning").count(), 1, "{command}");
        assert!(!out.is_empty(), "{command}");
        assert_eq!(server.lines()[count], line, "{command}");
    }
}

#[test]
fn reads_sessions_while_trackers_are_unavailable() {
    let server = Fake::new()
        .session("default", "a")
        .rule(|request| {
            (request.path == "/apis/visibility.operator.metalbear.co/v1").then(|| {
                crate::fake::Response {
                    code: 503,
                    headers: "",
                    body: "service unavailable\n".into(),
                }
            })
        })
        .start();
    let CommandOutput { code, out, messages } = server.run("list -o name");
    assert_eq!((code, out.as_str()), (Some(0), "session.operator.metalbear.co/a\n"));
    assert_eq!(
        messages,
        FALLBACK.replace("not served by this cluster", "not available now (service unavailable)")
    );
}

#[test]
fn forbidden_trackers_cause_no_fallback() {
    let server = Fake::new()
        .session("default", "487f4f2b6d2376ad")
        .forbid("GET /namespaces/default/sessiontrackers", "list", Some("default"))
        .forbid("GET /namespaces/default/sessiontrackers/487f4f2b6d2376ad", "get", Some("default"))
        .start();
    assert_eq!(
        server.run("list").fails(),
        "Error from server (Forbidden): User \"dev\" cannot list sessiontrackers.visibility.operator.metalbear.co in namespace \"default\": ask an administrator for it: kubectl create rolebinding mirrord-operator-user:dev --clusterrole=mirrord-operator-user --user=dev -n default"
    );
    let message = server.run("describe 487F4F2B6D2376AD").fails();
    assert!(
        message.contains("cannot get sessiontrackers.visibility.operator.metalbear.co \"487F4F2B6D2376AD\" in namespace"),
        "{message}"
    );
    assert!(!server.lines().iter().any(|line| line.ends_with("/sessions")));
    // A requester without access to discovery.
    let denied = status(403, "Forbidden", "no discovery for you", &json!({}));
    let server = Fake::new()
        .session("default", "a")
        .rule(move |request| {
            request.is_discovery().then(|| crate::fake::Response {
                code: 403,
                headers: "",
                body: denied.clone(),
            })
        })
        .start();
    assert_eq!(server.run("list -o name").succeeds(), "session.operator.metalbear.co/a\n");
    assert_eq!(server.lines(), ["GET /namespaces/default/sessiontrackers"]);
}

#[test]
fn discovers_the_source_once_and_logs_it() {
    let server = Fake::new().session("default", "a").start();
    let messages = server.run("describe a -v 1").messages;
    assert!(
        messages.contains("Reading sessiontrackers.visibility.operator.metalbear.co"),
        "{messages}"
    );
    let discoveries = server.all_requests().iter().filter(|request| request.is_discovery()).count();
    assert_eq!(discoveries, 1);
}

#[test]
fn hides_ended_sessions_by_default() {
    let mut ended = session("default", "over");
    ended["status"] = json!({
        "state": "terminated", "reason": "Stopped", "stoppedBy": "boss", "endedAt": "2020-01-01T00:01:03Z",
    });
    for server in [
        Fake::new().session("default", "a").object(ended.clone()).start(),
        // A server that does not know the selector.
        Fake::new()
            .object(ended.clone())
            .respond(
                "GET /namespaces/default/sessiontrackers",
                200,
                json!({ "items": [session("default", "a"), ended] }).to_string(),
            )
            .start(),
    ] {
        assert_eq!(server.run("list -o name").succeeds(), "session.operator.metalbear.co/a\n");
        let selector = &server.requests()[0].query["fieldSelector"];
        assert_eq!(selector, "status.state!=terminated");
        let all = server.run("list --all-states -o wide").succeeds();
        assert_eq!(all.lines().count(), 3, "{all}");
        let line = all.lines().find(|line| line.starts_with("over ")).unwrap();
        assert!(line.contains("63s") && line.contains("terminated"), "{line}");
        assert!(!server.requests()[1].query.contains_key("fieldSelector"));
        let text = server.run("describe over").succeeds();
        assert!(text.contains("Stopped By:      boss\n"), "{text}");
    }
}

#[test]
fn applies_selectors_and_filters() {
    let mut eves = session("default", "e");
    eves["spec"]["owner"]["username"] = json!("eve");
    let server = Fake::new().session("default", "a").object(eves).start();
    for (arguments, expected, fields) in [
        ("", vec!["a", "e"], "status.state!=terminated"),
        ("--user eve", vec!["e"], "status.state!=terminated"),
        (
            "--field-selector spec.owner.username=eve",
            vec!["e"],
            "spec.owner.username=eve,status.state!=terminated",
        ),
        ("--mine", vec!["a"], "spec.owner.username=avi@x,status.state!=terminated"),
        ("--port 81", vec![], "status.state!=terminated"),
        ("--target deploy/counter", vec!["a", "e"], "status.state!=terminated"),
    ] {
        let CommandOutput { code, out, .. } = server.run(&format!("list -o name {arguments}"));
        let names: Vec<&str> = out.lines().filter_map(|line| line.rsplit('/').next()).collect();
        assert_eq!((code, names), (Some(0), expected), "{arguments}");
        let last = server.requests().pop().unwrap();
        assert_eq!(last.query["fieldSelector"], fields, "{arguments}");
    }
    server.run("list -l a=b,c=d --chunk-size=7");
    let last = server.requests().pop().unwrap();
    assert_eq!(last.query["labelSelector"], "a=b,c=d");
    assert_eq!(last.query["limit"], "7");
    server.run("list --chunk-size=0");
    assert!(!server.requests().pop().unwrap().query.contains_key("limit"));
}

#[test]
fn describes_by_target_with_concurrent_sessions() {
    let mut eves = session("default", "e");
    eves["spec"]["owner"]["username"] = json!("eve");
    let server = Fake::new().session("default", "a").object(eves).start();
    let text = server.run("describe deployment/counter").succeeds();
    assert_eq!(text.matches("Session ID:").count(), 2, "{text}");
    assert!(text.contains("Others On Target:  eve\n"), "{text}");
    assert!(text.contains("Others On Target:  avi@x\n"), "{text}");
    // One list serves the target and its concurrent sessions.
    let lists = server.lines().iter().filter(|line| line.ends_with("/sessiontrackers")).count();
    assert_eq!(lists, 1);
    let output = server.run("describe pod/none");
    assert_eq!(
        (output.code, output.messages.as_str()),
        (Some(0), "No sessions found on pod/none in default namespace.\n")
    );
    let wide = server.run("list -o wide").succeeds();
    let line = wide.lines().nth(1).unwrap();
    assert!(line.ends_with("eve"), "{wide}");
}

/// Responds like the API server with a webhook that hangs, to a developer with the default role.
fn unavailable_trackers() -> Fake {
    Fake::new()
        .session("default", "487f4f2b6d2376ad")
        .rule(|seen| {
            seen.path.starts_with("/apis/visibility.operator.metalbear.co/v1").then(|| {
                crate::fake::Response {
                    code: 503,
                    headers: "",
                    body: "service unavailable\n".into(),
                }
            })
        })
        .forbid("GET /namespaces/default/sessions", "list", Some("default"))
        .forbid("GET /namespaces/default/sessions/487f4f2b6d2376ad", "get", Some("default"))
        .forbid("GET /sessions", "list", None)
        .rule(|seen| {
            let webhook = match seen.method.as_str() {
                "POST" if seen.path.ends_with("/sessions") => "stamp",
                "DELETE" => "stop",
                _ => return None,
            };
            let message = format!(
                "Internal error occurred: failed calling webhook \"{webhook}.sessions.operator.metalbear.co\": failed to call webhook: Post \"https://x.y.svc:443/z?timeout=5s\": context deadline exceeded"
            );
            let body = status(500, "InternalError", &message, &json!({}));
            Some(crate::fake::Response { code: 500, headers: "", body })
        })
}

#[test]
fn unavailable_trackers_are_neither_missing_nor_forbidden() {
    let server = unavailable_trackers().start();
    let unavailable = "sessiontrackers.visibility.operator.metalbear.co is not available now (service unavailable)";
    let hanging = "sessions.operator.metalbear.co\" did not answer in time: try again later";
    for (command, expected) in [
        ("list", unavailable),
        ("list -A", unavailable),
        ("list -w", unavailable),
        ("describe 487f4f2b6d2376ad", unavailable),
        (
            "join 487f4f2b6d2376ad",
            "sessiontrackers.visibility.operator.metalbear.co, which is not available now (service unavailable)",
        ),
        ("kill-all -A --yes", unavailable),
        ("delete 487f4f2b6d2376ad", hanging),
        ("kill --id 487f4f2b6d2376ad", hanging),
        ("kill-all --yes", hanging),
        #[cfg(unix)]
        ("run true", hanging),
    ] {
        let output = server.run(command);
        assert_ne!(output.code, Some(0), "{command}");
        let messages = output.messages;
        assert!(messages.contains(expected), "{command}: {messages}");
        for wrong in ["rolebinding", "does not serve", "Internal error occurred"] {
            assert!(!messages.contains(wrong), "{command}: {messages}");
        }
    }
    // The API server stores nothing if a webhook fails, so there is nothing to repeat or delete.
    let creations = server.lines().into_iter().filter(|line| line.starts_with("POST"));
    assert_eq!(creations.count(), usize::from(cfg!(unix)));
    let output = server.run("status");
    for expected in [
        "the API server can't reach it: the webhook \"stamp.sessions.operator.metalbear.co\" did not answer in time",
        "Sessions: not available now (service unavailable)",
    ] {
        assert!(output.out.contains(expected), "{output:?}");
    }
}

#[test]
fn commands_do_not_wait_for_hanging_trackers() {
    let start = std::time::Instant::now();
    let server = Fake::new()
        .session("default", "a")
        .rule(|seen| {
            if seen.path.starts_with("/apis/visibility.operator.metalbear.co") {
                std::thread::sleep(std::time::Duration::from_mins(1));
            }
            None
        })
        .start();
    let output = server.run("list -o name");
    assert_eq!((output.code, output.out.as_str()), (Some(0), "session.operator.metalbear.co/a\n"));
    assert!(output.messages.contains("is not available now (there was no answer within 5s)"));
    let output = server.run("status");
    assert!(output.out.contains("can't reach them: there was no answer within 3s"), "{output:?}");
    assert!(start.elapsed().as_secs() < 40, "{:?}", start.elapsed());
}
