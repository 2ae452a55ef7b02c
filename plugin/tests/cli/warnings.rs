//! Warnings of the API server, which every command prints as kubectl does.

use serde_json::json;

use crate::fake::{Fake, ReceivedRequest, Response, session};

const HEADER: &str = "warning: 299 - \"the run continues\", 299 - \"twice\"\r\n\
    warning: 299 - \"twice\"\r\nwarning: 110 proxy \"stale\"\r\n";
const MESSAGES: &str = "Warning: the run continues\nWarning: twice\n";

/// Responds to requests that match with a warning.
fn warning_about(matches: impl Fn(&ReceivedRequest) -> bool + Send + Sync + 'static) -> Fake {
    Fake::new().session("default", "a").session("default", "b").rule(move |seen| {
        let body = match (seen.line().as_str(), seen.line().ends_with("/a")) {
            ("DELETE /namespaces/default/sessions", _) => {
                json!({ "kind": "SessionList", "items": [session("default", "a")] })
            }
            ("GET /namespaces/default/sessiontrackers", _) => {
                json!({ "kind": "SessionTrackerList", "items": [session("default", "a")] })
            }
            (line, _) if line.ends_with("/join") => json!({ "kind": "SessionJoin", "status": {} }),
            (_, true) => session("default", "a"),
            _ => return None,
        };
        matches(seen).then(|| Response { code: 200, headers: HEADER, body: body.to_string() })
    })
}

type Matcher = fn(&ReceivedRequest) -> bool;

#[test]
fn every_command_prints_warnings_once() {
    let deletes = |seen: &ReceivedRequest| seen.method == "DELETE";
    let reads = |seen: &ReceivedRequest| seen.method == "GET" && !seen.query.contains_key("watch");
    let posts = |seen: &ReceivedRequest| seen.method == "POST";
    for (command, matches) in [
        ("delete a --wait=false", deletes as Matcher),
        ("kill --id a --wait=false", deletes),
        ("kill-all --wait=false", deletes),
        ("delete --all --wait=false", deletes),
        ("delete a --dry-run=server", deletes),
        ("list", reads),
        ("list a", reads),
        ("describe a", reads),
        ("join a", posts),
    ] {
        let output = warning_about(matches).start().run(command);
        assert_eq!((output.code, output.messages.as_str()), (Some(0), MESSAGES), "{command}");
    }
}

#[test]
fn prints_warnings_of_failed_requests() {
    let server = Fake::new()
        .rule(|seen| {
            (seen.method == "DELETE").then(|| Response {
                code: 403,
                headers: HEADER,
                body: crate::stop::denied_status(),
            })
        })
        .session("default", "a")
        .start();
    let output = server.run("delete a");
    assert_eq!(output.code, Some(1));
    assert!(output.messages.starts_with(MESSAGES), "{output:?}");
    assert!(output.messages.contains("admission webhook"), "{output:?}");
}

#[test]
fn completion_prints_no_warnings() {
    let server = warning_about(|_| true).start();
    assert!(server.run("__complete delete ").succeeds().contains('a'));
    let mut command = server.command("__complete delete");
    let output = command.arg("").output().unwrap();
    assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{output:?}");
}
