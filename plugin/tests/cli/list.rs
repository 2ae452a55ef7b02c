use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{
    fake::{Answer, Fake, session, status},
    plugin::Ran,
};

#[test]
fn columns_on_standard_output() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").session("shop", "a").start();
    let text = server.run("list").went_well();
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
    assert_eq!(server.run("ls -n shop -o name").went_well(), "session.operator.metalbear.co/a\n");
    assert_eq!(server.run("list -A").went_well().lines().count(), 3);
    assert!(server.run("list -A -o table").went_well().starts_with("+---"));
}

#[test]
fn nothing_found_is_said_and_is_no_failure() {
    let server = Fake::new().start();
    for (arguments, message) in [
        ("list", "No sessions found in default namespace.\n"),
        ("list -n shop -o wide", "No sessions found in shop namespace.\n"),
        ("list -A -o table", "No sessions found\n"),
        ("list -o name", "No sessions found in default namespace.\n"),
        ("describe", "No sessions found in default namespace.\n"),
        ("kill-all", "No sessions found in default namespace.\n"),
    ] {
        let Ran { code, out, messages } = server.run(arguments);
        assert_eq!((code, out.as_str(), messages.as_str()), (Some(0), "", message), "{arguments}");
    }
    let json: Value = serde_json::from_str(&server.run("list -o json").went_well()).unwrap();
    let empty = json!({ "apiVersion": "v1", "kind": "List", "items": [], "metadata": { "resourceVersion": "" } });
    assert_eq!(json, empty);
    assert!(server.run("list -o yaml").went_well().contains("items: []\n"));
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn pages_are_put_together() {
    let many = (0..1203).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many.start();
    let names = server.run("list -o name").went_well();
    assert_eq!(names.lines().count(), 1203);
    assert!(names.ends_with("/s1202\n"));
    let pages = |server: &crate::fake::Server| -> Vec<(String, String)> {
        let of = |seen: &crate::fake::Seen, name: &str| seen.query.get(name).cloned();
        let page = |seen| (of(seen, "limit").unwrap(), of(seen, "continue").unwrap_or_default());
        server.asked().iter().map(page).collect()
    };
    let page = |limit: &str, after: &str| (limit.to_owned(), after.to_owned());
    // The first is there soon, and those that follow need fewer requests.
    let growing = [page("500", ""), page("1000", "500")];
    assert_eq!(pages(&server), growing);
    let names = server.run("list -o name --chunk-size=500").went_well();
    assert_eq!(names.lines().count(), 1203);
    let all = pages(&server);
    let fixed = [page("500", ""), page("500", "500"), page("500", "1000")];
    assert_eq!(all[2..], fixed);
}

#[test]
fn pages_that_expired_are_read_in_one() {
    let many = (0..600).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many
        .rule(|seen| {
            let body =
                status(410, "Expired", "The provided continue parameter is too old", &json!({}));
            seen.query.contains_key("continue").then_some(Answer { code: 410, headers: "", body })
        })
        .start();
    assert_eq!(server.run("list -o name").went_well().lines().count(), 600);
    assert!(!server.asked()[2].query.contains_key("limit"));
}

#[test]
fn strange_objects_and_control_characters() {
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
        let text = server.run(&format!("list -o {format}")).went_well();
        let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_control), "{text:?}");
        assert!(text.contains("bare") && text.contains("odd"), "{text}");
    }
    assert_eq!(server.run("list").went_well().lines().count(), 4);
    let json: Value = serde_json::from_str(&server.run("list -o json").went_well()).unwrap();
    assert_eq!(json["items"][0]["spec"]["user"], "a\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\nb");
    assert_eq!(json["items"][1]["kind"], "SessionTracker");
    assert!(!server.run("describe").went_well().contains('\u{1b}'));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let many = (0..2000).fold(Fake::new(), |fake, n| fake.session("default", &format!("s{n:04}")));
    let server = many.start();
    let mut child =
        server.command("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    // As `head -1`: more is written than a pipe holds, and nobody reads it.
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("SESSION ID"));
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.messages.as_str()), (Some(0), ""));
}

#[test]
fn identity_goes_with_every_request() {
    let server = Fake::new().start();
    server.run("--as eve --as-group a list --as-group b -o json").went_well();
    for seen in server.seen() {
        assert_eq!(seen.header("authorization"), ["Bearer secret"]);
        assert_eq!(seen.header("impersonate-user"), ["eve"]);
        assert_eq!(seen.header("impersonate-group"), ["a", "b"]);
    }
    server
        .run("list --token other -o json --as eve --as-user-extra Team/a=x --as-user-extra b=y")
        .went_well();
    let seen = &server.asked()[1];
    assert_eq!(seen.header("authorization"), ["Bearer other"]);
    assert_eq!(seen.header("impersonate-extra-team%2fa"), ["x"]);
    assert_eq!(seen.header("impersonate-extra-b"), ["y"]);
}

#[test]
fn who_else_is_on_a_target_is_unknown_where_others_are_left_out() {
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
        let text = server.run(&format!("list -o wide --no-headers {filters}")).went_well();
        let others = text.lines().next().unwrap().split_whitespace().last();
        assert_eq!(others, Some(expected), "{filters}: {text}");
    }
}

#[test]
fn sessions_by_name() {
    let server = Fake::new()
        .session("default", "487f4f2b6d2376ad")
        .session("default", "b")
        .session("shop", "c")
        .start();
    assert_eq!(
        server.run("get b 487F -o name").went_well(),
        "session.operator.metalbear.co/b\nsession.operator.metalbear.co/487f4f2b6d2376ad\n"
    );
    // One is shown as it is, several are a list.
    let one: Value = serde_json::from_str(&server.run("list b -o json").went_well()).unwrap();
    assert_eq!(one["metadata"]["name"], "b", "{one}");
    assert_eq!(server.run("list -A c -o jsonpath={.metadata.namespace}").went_well(), "shop");
    let two: Value = serde_json::from_str(&server.run("list b 487F -o json").went_well()).unwrap();
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
        let ran = server.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments}: {}", ran.messages);
        assert_eq!(ran.out.lines().count(), lines, "{arguments}: {}", ran.out);
        assert!(
            ran.messages.starts_with(message) && ran.messages.is_empty() == message.is_empty(),
            "{arguments}: {}",
            ran.messages
        );
    }
}

#[test]
fn labels_managed_fields_and_keys_that_are_missing() {
    let mut object = session("default", "a");
    object["metadata"]["labels"] = json!({ "example.com/team": "shop" });
    object["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    let server = Fake::new().object(object).start();
    let text = server.run("list -L example.com/team,none --show-labels").went_well();
    let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[header.len() - 3..], ["TEAM", "NONE", "LABELS"]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[row.len() - 2..], ["shop", "example.com/team=shop"]);

    let managed = |flags: &str| {
        let text = server.run(&format!("list -o json{flags}")).went_well();
        text.contains("managedFields")
    };
    assert!(!managed("") && !managed(" --show-managed-fields=false"));
    assert!(managed(" --show-managed-fields"));

    for template in ["--template={{.kind}}", "-o go-template={{.kind}}"] {
        let ran = server.run(&format!("list {template}"));
        assert_eq!(ran.code, Some(1));
        let remedy = "kubectl get sessiontrackers -o go-template='{{.kind}}'";
        assert!(ran.messages.contains(remedy), "{ran:?}");
    }

    let path = "list -o jsonpath={.nope}";
    assert_eq!(server.run(path).went_well(), "");
    let ran = server.run(&format!("{path} --allow-missing-template-keys=false"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.messages.contains("nope is not found"), "{ran:?}");
}

#[test]
fn what_is_watched_is_sorted_once() {
    let server = Fake::new()
        .session("default", "a")
        .session("default", "c")
        .session("default", "b")
        .rule(|seen| {
            let ended = status(403, "Forbidden", "no watch today", &json!({}));
            seen.query.contains_key("watch").then_some(Answer {
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
        let ran = server.run(&line);
        assert_eq!(ran.out, names, "{flags}");
        let said = ran.messages.strip_prefix(warning);
        assert!(said.unwrap().contains("no watch today"), "{ran:?}");
    }
}

#[test]
fn labels_are_shown_in_columns_alone() {
    let server = Fake::new().session("default", "a").start();
    for format in ["json", "name", "table", "jsonpath={.a}", "nope"] {
        assert_eq!(
            server.run(&format!("list --show-labels -o {format}")).failed(),
            format!("error: --show-labels option cannot be used with {format} printer")
        );
    }
    assert!(server.lines().is_empty());
    let wide = server.run("list --show-labels -o wide").went_well();
    assert!(wide.lines().next().unwrap().ends_with("LABELS"), "{wide}");
}

#[test]
fn flags_of_kubectl_that_are_not_taken_say_why() {
    let server = Fake::new().start();
    for (arguments, message) in [
        ("delete -f session.yaml", "error: --filename is not taken: sessions are named here"),
        ("list --raw /x", "error: --raw is not taken: use \"kubectl get --raw\""),
        (
            "list --watch=maybe",
            "error: invalid argument \"maybe\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax\n",
        ),
    ] {
        let ran = server.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{arguments}");
        assert!(ran.messages.starts_with(message), "{}", ran.messages);
    }
    assert!(server.lines().is_empty());
}
