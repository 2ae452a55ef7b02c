use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::{
    fake::{Fake, Response, session},
    plugin::CommandOutput,
};

fn two_sessions() -> Fake {
    let mut labelled = session("default", "a");
    labelled["metadata"]["labels"] = json!({ "run": "x", "team": "y" });
    labelled["metadata"]["creationTimestamp"] = json!("2021-01-01T00:00:00Z");
    Fake::new().object(labelled).session("default", "b")
}

#[test]
fn prints_templates_and_columns() {
    let server = two_sessions().start();
    for (arguments, expected) in [
        ("-o jsonpath={.items[*].metadata.name}", "a b"),
        ("-o=jsonpath={range.items[*]}{.metadata.name}{\"\\n\"}{end}", "a\nb\n"),
        ("-o jsonpath-as-json={.kind}", "[\n    \"List\"\n]\n"),
        (
            "-o custom-columns=NAME:.metadata.name,T:spec.target,X:.x",
            "NAME   T                    X\na      deployment/counter   <none>\nb      deployment/counter   <none>\n",
        ),
        ("-o custom-columns=NAME:.metadata.name --no-headers", "a\nb\n"),
        (
            "-o custom-columns=NAME:.metadata.name --sort-by .metadata.creationTimestamp",
            "NAME\nb\na\n",
        ),
        (
            "-o name --sort-by {.metadata.name}",
            "session.operator.metalbear.co/a\nsession.operator.metalbear.co/b\n",
        ),
    ] {
        assert_eq!(server.run(&format!("list {arguments}")).succeeds(), expected, "{arguments}");
    }
    let lines = |arguments: &str| -> Vec<String> {
        let text = server.run(&format!("list {arguments}")).succeeds();
        text.lines().map(ToOwned::to_owned).collect()
    };
    let labels = lines("--show-labels");
    assert!(labels[0].ends_with("   LABELS"), "{labels:?}");
    assert!(labels[1].ends_with("   run=x,team=y"), "{labels:?}");
    assert!(labels[2].ends_with("   <none>"), "{labels:?}");
    let kinds = lines("--show-kind --no-headers");
    assert!(kinds[0].starts_with("session.operator.metalbear.co/a "), "{kinds:?}");
    assert_eq!(kinds.len(), 2);
    assert_eq!(lines("-o table --no-headers").len(), 5);
    // Templates from files.
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template");
    std::fs::write(&template, "{.items[1].metadata.name}").unwrap();
    assert_eq!(lines(&format!("-o jsonpath-file={}", template.display())), ["b"]);
    std::fs::write(&template, "NAME STATE\n.metadata.name .status.state\n").unwrap();
    assert_eq!(
        lines(&format!("-o custom-columns-file={}", template.display())),
        ["NAME   STATE", "a      running", "b      running"]
    );
}

#[test]
fn sends_no_request_with_an_invalid_format() {
    let server = two_sessions().start();
    for (arguments, expected) in [
        (
            "-o nope",
            "error: unable to match a printer suitable for the output format \"nope\", allowed formats are: ",
        ),
        ("-o jsonpath={.x", "error: error parsing jsonpath {.x, unclosed action"),
        ("-o jsonpath", "error: template format specified but no template given"),
        (
            "-o custom-columns=a",
            "error: unexpected custom-columns spec: a, expected <header>:<json-path-expr>",
        ),
        ("--sort-by {.x", "error: unexpected path string"),
        ("-w -o table", "error: a bordered table can't be watched"),
    ] {
        let message = server.run(&format!("list {arguments}")).fails();
        assert!(message.starts_with(expected), "{arguments}: {message}");
    }
    assert!(server.all_requests().is_empty());
    let message = server.run("list -o jsonpath={end}").fails();
    assert!(
        message.starts_with("error: error executing jsonpath \"{end}\": Error executing template: not in range, nothing to end"),
        "{message}"
    );
    let message = server.run("list --sort-by .nothing").fails();
    assert!(message.contains("couldn't find any field with path"), "{message}");
}

/// Serves a watch with these events, after a list of version 7.
fn watch_server(events: &[Value]) -> Fake {
    let events: Vec<String> = events.iter().map(ToString::to_string).collect();
    let body = events.join("\n") + "\n";
    two_sessions().rule(move |request| {
        if request.line() != "GET /namespaces/default/sessiontrackers" {
            return None;
        }
        let body = match (request.query.get("watch"), request.query.get("resourceVersion")) {
            (None, _) => json!({
                "metadata": { "resourceVersion": "7" },
                "items": [session("default", "a"), session("default", "b")],
            })
            .to_string(),
            (_, Some(version)) if version == "7" => body.clone(),
            // No further event follows.
            _ => String::new(),
        };
        Some(Response { code: 200, headers: "", body })
    })
}

fn event(kind: &str, name: &str, state: &str, version: &str) -> Value {
    let mut object = session("default", name);
    object["status"]["state"] = json!(state);
    object["metadata"]["resourceVersion"] = json!(version);
    json!({ "type": kind, "object": object })
}

/// Reads this number of lines, then closes the pipe.
fn read_lines(mut child: Child, count: usize) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.take(count).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

fn spawn(server: &crate::fake::Server, arguments: &str) -> Child {
    let mut command = server.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn prints_changes_as_they_happen() {
    let events = vec![
        event("MODIFIED", "a", "pending", "8"),
        json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "9" } } }),
        event("ADDED", "c", "running", "10"),
        // An ended session leaves the list, and is printed once more.
        event("MODIFIED", "b", "terminated", "11"),
        event("MODIFIED", "b", "terminated", "12"),
        event("DELETED", "c", "running", "13"),
    ];
    let server = watch_server(&events).start();
    let lines =
        read_lines(spawn(&server, "list -w -o custom-columns=N:.metadata.name,S:.status.state"), 7);
    assert_eq!(
        lines,
        [
            "N     S",
            "a     running",
            "b     running",
            "a     pending",
            "c     running",
            "b     terminated",
            "c     running",
        ]
    );
    let server = watch_server(&events).start();
    let lines = read_lines(spawn(&server, "list --watch-only -o name"), 4);
    assert_eq!(lines[0], "session.operator.metalbear.co/a");
    assert_eq!(lines[1], "session.operator.metalbear.co/c");
    let server = watch_server(&events).start();
    let lines = read_lines(spawn(&server, "list -w"), 7);
    assert!(lines[0].starts_with("SESSION ID"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("SESSION")).count(), 1);
    assert!(lines[4].starts_with("c "), "{lines:?}");
    // Every line has the kind of the event; a session that leaves the list is printed as deleted.
    let server = watch_server(&events).start();
    let line = "list -w --output-watch-events -o custom-columns=N:.metadata.name";
    assert_eq!(
        read_lines(spawn(&server, line), 7),
        [
            "EVENT   N",
            "ADDED   a",
            "ADDED   b",
            "MODIFIED   a",
            "ADDED      c",
            "DELETED    b",
            "DELETED    c",
        ]
    );
    let server = watch_server(&events).start();
    let line = "list --watch-only --output-watch-events -o jsonpath={.type}={.object.metadata.name}{\"\\n\"}";
    assert_eq!(
        read_lines(spawn(&server, line), 4),
        ["MODIFIED=a", "ADDED=c", "DELETED=b", "DELETED=c"]
    );
    // Objects are printed as separate documents.
    let server = watch_server(&events).start();
    let lines = read_lines(spawn(&server, "list --watch-only -o yaml"), 40);
    assert_eq!(lines[0], "apiVersion: operator.metalbear.co/v1", "{lines:?}");
    assert!(lines.contains(&"---".to_owned()), "{lines:?}");
}

#[test]
fn restarts_an_expired_watch_without_loss() {
    let expired = json!({
        "type": "ERROR",
        "object": { "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" },
    });
    let lists = std::sync::atomic::AtomicUsize::new(0);
    let server = Fake::new()
        .rule(move |request| {
            if request.line() != "GET /namespaces/default/sessiontrackers" {
                return None;
            }
            let list = |version: &str, items: Vec<Value>| {
                let items: Vec<&Value> = items.iter().map(|event| &event["object"]).collect();
                json!({ "metadata": { "resourceVersion": version }, "items": items }).to_string()
            };
            let body = if request.query.contains_key("watch") {
                match request.query["resourceVersion"].as_str() {
                    "7" => format!("{expired}\n"),
                    _ => String::new(),
                }
            } else if lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                let items = ["a", "b", "c"].map(|name| event("", name, "running", "7"));
                list("7", items.to_vec())
            } else {
                // Meanwhile b has changed, c was deleted, and d is new.
                let items = vec![
                    event("", "a", "running", "7"),
                    event("", "b", "pending", "8"),
                    event("", "d", "running", "9"),
                ];
                list("9", items)
            };
            Some(Response { code: 200, headers: "", body })
        })
        .start();
    let child =
        spawn(&server, "list -w -o custom-columns=N:.metadata.name,S:.status.state --no-headers");
    assert_eq!(
        read_lines(child, 6),
        [
            "a     running",
            "b     running",
            "c     running",
            "b     pending",
            "d     running",
            "c     running",
        ]
    );
}

#[test]
fn reports_a_denied_watch() {
    let denied = crate::fake::status(
        403,
        "Forbidden",
        "sessiontrackers.visibility.operator.metalbear.co is forbidden: User \"dev\" cannot watch resource \"sessiontrackers\" in API group \"visibility.operator.metalbear.co\" in the namespace \"default\"",
        &json!({}),
    );
    let server = two_sessions()
        .rule(move |request| {
            request.query.contains_key("watch").then(|| Response {
                code: 403,
                headers: "",
                body: denied.clone(),
            })
        })
        .start();
    let CommandOutput { code, out, messages } = server.run("list -w -o name");
    assert_eq!((code, out.lines().count()), (Some(1), 2));
    assert!(
        messages.contains(
            "cannot watch sessiontrackers.visibility.operator.metalbear.co in namespace \"default\""
        ),
        "{messages}"
    );
}

#[test]
fn prints_the_first_page_before_the_second_arrives() {
    let many = (0..600).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = many
        .rule(move |request| {
            if request.query.contains_key("continue") {
                // The second page is sent after the first was read.
                wait.lock().unwrap().recv().unwrap();
            }
            None
        })
        .start();
    let mut child = spawn(&server, "list");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.by_ref().take(501).count(), 501);
    go.send(()).unwrap();
    assert_eq!(lines.count(), 100);
    assert!(child.wait().unwrap().success());
}
