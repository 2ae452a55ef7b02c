use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{
    fake::{Fake, Response, session, status},
    plugin::CommandOutput,
};

#[test]
fn prints_columns_to_standard_output() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").session("shop", "a").start();
    let text = server.run("list").succeeds();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "SESSION ID         TARGET               USER             PORTS                   SESSION DURATION"
    );
    assert!(
        lines[1].starts_with(
            "487F4F2B6D2376AD   deployment/counter   Avi/avi@x@host   Port: 80, Type: steal   "
        ),
        "{text}"
    );
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(server.run("ls -n shop -o name").succeeds(), "session.operator.metalbear.co/a\n");
    assert_eq!(server.run("list -A").succeeds().lines().count(), 3);
    assert!(server.run("list -A -o table").succeeds().starts_with("+---"));
}

#[test]
fn succeeds_with_a_message_if_nothing_is_found() {
    let server = Fake::new().start();
    for (arguments, message) in [
        ("list", "No sessions found in default namespace.\n"),
        ("list -n shop -o wide", "No sessions found in shop namespace.\n"),
        ("list -A -o table", "No sessions found\n"),
        ("list -o name", "No sessions found in default namespace.\n"),
        ("describe", "No sessions found in default namespace.\n"),
        ("kill-all", "No sessions found in default namespace.\n"),
    ] {
        let CommandOutput { code, out, messages } = server.run(arguments);
        assert_eq!((code, out.as_str(), messages.as_str()), (Some(0), "", message), "{arguments}");
    }
    let json: Value = serde_json::from_str(&server.run("list -o json").succeeds()).unwrap();
    let empty = json!({ "apiVersion": "v1", "kind": "List", "items": [], "metadata": { "resourceVersion": "" } });
    assert_eq!(json, empty);
    assert!(server.run("list -o yaml").succeeds().contains("items: []\n"));
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn reads_all_pages() {
    let many = (0..1203).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many.start();
    let names = server.run("list -o name").succeeds();
    assert_eq!(names.lines().count(), 1203);
    assert!(names.ends_with("/s1202\n"));
    let pages = |server: &crate::fake::Server| -> Vec<(String, String)> {
        let parameter =
            |request: &crate::fake::ReceivedRequest, name: &str| request.query.get(name).cloned();
        let page = |request| {
            (
                parameter(request, "limit").unwrap(),
                parameter(request, "continue").unwrap_or_default(),
            )
        };
        server.requests().iter().map(page).collect()
    };
    let page = |limit: &str, after: &str| (limit.to_owned(), after.to_owned());
    // The first page is small for a fast start; later pages are larger for fewer requests.
    let growing = [page("500", ""), page("1000", "500")];
    assert_eq!(pages(&server), growing);
    let names = server.run("list -o name --chunk-size=500").succeeds();
    assert_eq!(names.lines().count(), 1203);
    let all = pages(&server);
    let fixed = [page("500", ""), page("500", "500"), page("500", "1000")];
    assert_eq!(all[2..], fixed);
}

#[test]
fn reads_expired_pages_in_one_request() {
    let many = (0..600).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many
        .rule(|request| {
            let body =
                status(410, "Expired", "The provided continue parameter is too old", &json!({}));
            request.query.contains_key("continue").then_some(Response {
                code: 410,
                headers: "",
                body,
            })
        })
        .start();
    assert_eq!(server.run("list -o name").succeeds().lines().count(), 600);
    assert!(!server.requests()[2].query.contains_key("limit"));
}

#[test]
fn prints_malformed_objects_and_escapes_control_characters() {
    let mut evil = session("default", "evil");
    evil["spec"]["user"] = json!("a\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\nb");
    evil["status"]["ports"] = json!("\u{1b}[2J");
    let server = Fake::new()
        .object(evil)
        .object(json!({ "metadata": { "name": "bare", "namespace": "default" } }))
        .object(json!({
            "metadata": { "name": "odd", "namespace": "default", "creationTimestamp": 5 },
            "spec": [1, 2], "status": null,
        }))
        .start();
    for format in ["wide", "table", "name", "json", "yaml"] {
        let text = server.run(&format!("list -o {format}")).succeeds();
        let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_control), "{text:?}");
        assert!(text.contains("bare") && text.contains("odd"), "{text}");
    }
    assert_eq!(server.run("list").succeeds().lines().count(), 4);
    let json: Value = serde_json::from_str(&server.run("list -o json").succeeds()).unwrap();
    assert_eq!(json["items"][0]["spec"]["user"], "a\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\nb");
    assert_eq!(json["items"][1]["kind"], "SessionTracker");
    assert!(!server.run("describe").succeeds().contains('\u{1b}'));
}

#[test]
fn exits_silently_on_a_closed_pipe() {
    let many = (0..2000).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many.start();
    let mut child =
        server.command("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    // Like `head -1`: the output exceeds the capacity of a pipe without a reader.
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("SESSION ID"));
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!((output.code, output.messages.as_str()), (Some(0), ""));
}

#[test]
fn sends_credentials_with_every_request() {
    let server = Fake::new().start();
    server.run("--as eve --as-group a list --as-group b -o json").succeeds();
    for request in server.all_requests() {
        assert_eq!(request.header("authorization"), ["Bearer secret"]);
        assert_eq!(request.header("impersonate-user"), ["eve"]);
        assert_eq!(request.header("impersonate-group"), ["a", "b"]);
    }
    server
        .run("list --token other -o json --as eve --as-user-extra Team/a=x --as-user-extra b=y")
        .succeeds();
    let request = &server.requests()[1];
    assert_eq!(request.header("authorization"), ["Bearer other"]);
    assert_eq!(request.header("impersonate-extra-team%2fa"), ["x"]);
    assert_eq!(request.header("impersonate-extra-b"), ["y"]);
}

#[test]
fn reports_concurrent_sessions_as_unknown_with_filters() {
    let mut eves = session("default", "e");
    eves["spec"]["owner"]["username"] = json!("eve");
    let server = Fake::new().session("default", "a").object(eves).start();
    for (filters, expected) in [
        ("", "eve"),
        ("--target counter", "eve"),
        ("--mine", "<unknown>"),
        ("--user avi@x", "<unknown>"),
        ("--field-selector metadata.name=a", "<unknown>"),
        ("--port 80", "<unknown>"),
        ("--field-selector=", "eve"),
    ] {
        let text = server.run(&format!("list -o wide --no-headers {filters}")).succeeds();
        let others = text.lines().next().unwrap().split_whitespace().last();
        assert_eq!(others, Some(expected), "{filters}: {text}");
    }
}

#[test]
fn lists_sessions_by_name() {
    let server = Fake::new()
        .session("default", "487f4f2b6d2376ad")
        .session("default", "b")
        .session("shop", "c")
        .start();
    assert_eq!(
        server.run("get b 487F -o name").succeeds(),
        "session.operator.metalbear.co/b\nsession.operator.metalbear.co/487f4f2b6d2376ad\n"
    );
    // One session is printed as an object, several as a list.
    let one: Value = serde_json::from_str(&server.run("list b -o json").succeeds()).unwrap();
    assert_eq!(one["metadata"]["name"], "b", "{one}");
    assert_eq!(server.run("list -A c -o jsonpath={.metadata.namespace}").succeeds(), "shop");
    let two: Value = serde_json::from_str(&server.run("list b 487F -o json").succeeds()).unwrap();
    assert_eq!(two["items"].as_array().map(Vec::len), Some(2), "{two}");
    for (arguments, code, lines, message) in [
        ("list nope b", 1, 2, "Error from server (NotFound): "),
        ("list nope --ignore-not-found", 0, 0, ""),
        ("list nope -o json", 1, 0, "Error from server (NotFound): "),
        ("list b --mine", 1, 0, "error: name cannot be provided when a selector is specified\n"),
        (
            "list b 487F -w",
            1,
            0,
            "error: you may only watch a single resource or type of resource at a time\n",
        ),
        (
            "list --output-watch-events",
            1,
            0,
            "error: --output-watch-events option can only be used with --watch or --watch-only\n",
        ),
        ("list -n empty --ignore-not-found", 0, 0, ""),
    ] {
        let output = server.run(arguments);
        assert_eq!(output.code, Some(code), "{arguments}: {}", output.messages);
        assert_eq!(output.out.lines().count(), lines, "{arguments}: {}", output.out);
        assert!(
            output.messages.starts_with(message)
                && output.messages.is_empty() == message.is_empty(),
            "{arguments}: {}",
            output.messages
        );
    }
}

#[test]
fn prints_labels_managed_fields_and_missing_keys() {
    let mut object = session("default", "a");
    object["metadata"]["labels"] = json!({ "example.com/team": "shop" });
    object["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    let server = Fake::new().object(object).start();
    let text = server.run("list -L example.com/team,none --show-labels").succeeds();
    let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[header.len() - 3..], ["TEAM", "NONE", "LABELS"]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[row.len() - 2..], ["shop", "example.com/team=shop"]);

    let managed = |flags: &str| {
        let text = server.run(&format!("list -o json{flags}")).succeeds();
        text.contains("managedFields")
    };
    assert!(!managed("") && !managed(" --show-managed-fields=false"));
    assert!(managed(" --show-managed-fields"));

    for template in ["--template={{.kind}}", "-o go-template={{.kind}}"] {
        let output = server.run(&format!("list {template}"));
        assert_eq!(output.code, Some(1));
        let remedy = "kubectl get sessiontrackers -o go-template='{{.kind}}'";
        assert!(output.messages.contains(remedy), "{output:?}");
    }

    let path = "list -o jsonpath={.nope}";
    assert_eq!(server.run(path).succeeds(), "");
    let output = server.run(&format!("{path} --allow-missing-template-keys=false"));
    assert_eq!(output.code, Some(1));
    assert!(output.messages.contains("nope is not found"), "{output:?}");
}

#[test]
fn sorts_only_the_initial_list_of_a_watch() {
    let server = Fake::new()
        .session("default", "a")
        .session("default", "c")
        .session("default", "b")
        .rule(|request| {
            let ended = status(403, "Forbidden", "no watch today", &json!({}));
            request.query.contains_key("watch").then_some(Response {
                code: 403,
                headers: "",
                body: ended,
            })
        })
        .start();
    server.change(|sessions| {
        for (session, order) in sessions.iter_mut().zip([3, 1, 2]) {
            session["spec"]["order"] = json!(order);
        }
    });
    for (flags, names, warning) in [
        (
            "-w",
            "cba",
            "warning: --watch requested, --sort-by will be ignored for watch events received\n",
        ),
        ("--watch-only", "", "warning: --watch-only requested, --sort-by will be ignored\n"),
    ] {
        let line = format!("list -o jsonpath={{.metadata.name}} --sort-by=.spec.order {flags}");
        let output = server.run(&line);
        assert_eq!(output.out, names, "{flags}");
        let rest = output.messages.strip_prefix(warning);
        assert!(rest.unwrap().contains("no watch today"), "{output:?}");
    }
}

#[test]
fn rejects_label_columns_of_other_formats() {
    let server = Fake::new().session("default", "a").start();
    for format in ["json", "name", "table", "jsonpath={.a}", "nope"] {
        assert_eq!(
            server.run(&format!("list --show-labels -o {format}")).fails(),
            format!("error: --show-labels option cannot be used with {format} printer")
        );
    }
    assert!(server.lines().is_empty());
    let wide = server.run("list --show-labels -o wide").succeeds();
    assert!(wide.lines().next().unwrap().ends_with("LABELS"), "{wide}");
}

#[test]
fn explains_unsupported_flags_of_kubectl() {
    let server = Fake::new().start();
    for (arguments, message) in [
        (
            "delete -f session.yaml",
            "error: --filename is not supported: this command reads no manifests",
        ),
        ("list --raw /x", "error: --raw is not supported: use \"kubectl get --raw\""),
        (
            "list --watch=maybe",
            "error: invalid argument \"maybe\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax\n",
        ),
    ] {
        let output = server.run(arguments);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{arguments}");
        assert!(output.messages.starts_with(message), "{}", output.messages);
    }
    assert!(server.lines().is_empty());
}

#[test]
fn watch_ends_at_the_request_timeout() {
    let start = std::time::Instant::now();
    // The server ends each watch at once, and the plugin starts the next.
    let server = Fake::new().session("default", "a").start();
    let out = server.run("list -w --request-timeout=2s -o name").succeeds();
    assert_eq!(out, "session.operator.metalbear.co/a\n");
    let elapsed = start.elapsed();
    assert!(elapsed.as_millis() >= 2000 && elapsed.as_secs() < 20, "{elapsed:?}");
    // A server that does not respond to the watch at all is an error.
    let server = Fake::new()
        .rule(|seen| {
            if seen.query.contains_key("watch") {
                std::thread::sleep(std::time::Duration::from_secs(30));
            }
            None
        })
        .start();
    let message = server.run("list -w --request-timeout=1s").messages;
    assert!(message.contains("did not answer within 1s"), "{message}");
}
