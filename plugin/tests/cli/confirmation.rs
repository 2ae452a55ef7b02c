//! Confirmations before sessions are stopped.

use mirrord_sessions_plugin::{console::Console, run_on};
use serde_json::json;

use crate::{
    fake::{Fake, Server, session},
    stop::three_sessions,
};

/// Returns whether the command succeeded after a negative answer, and its messages.
fn answer_no(server: &Server, line: &str) -> (bool, String) {
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    let answer = "n\n".as_bytes();
    let mut console = Console::new(&mut out, &mut messages, Some(Box::new(answer)));
    let line = format!("plugin {line} --kubeconfig {}", server.kubeconfig().display());
    let succeeded = run_on(&mut console, line.split(' ').map(Into::into));
    drop(console);
    (succeeded, String::from_utf8(messages).unwrap())
}

#[test]
fn lists_resolved_sessions_in_the_confirmation() {
    let server = Fake::new()
        .session("default", "48fa000000000000")
        .session("default", "c000000000000000")
        .start();
    let (succeeded, messages) = answer_no(&server, "delete 48f C000000000000000 unknown");
    assert!(succeeded, "{messages}");
    assert!(
        messages.starts_with("You are about to delete the following 3 sessions:\n48FA000000000000 (Avi/avi@x@host, deployment/counter)\nC000000000000000 (Avi/avi@x@host, deployment/counter)\nunknown\n"),
        "{messages}"
    );
    assert_eq!(server.session_names().len(), 2);
}

#[test]
fn escapes_confirmations() {
    let mut evil = session("default", "48fa000000000000");
    evil["spec"]["user"] = json!("\u{1b}[2Jeve\nyou");
    evil["spec"]["target"] = json!("deployment/\u{9b}x\u{202e}");
    let server = Fake::new().object(evil).start();
    for line in ["delete 48f -i", "kill 48FA000000000000 -i --yes=false"] {
        let (succeeded, messages) = answer_no(&server, line);
        assert!(succeeded, "{line}: {messages:?}");
        assert!(
            messages.contains("\n48FA000000000000 (\\x1b[2Jeve\\nyou, deployment/"),
            "{line}: {messages:?}"
        );
        let control_characters = ['\u{1b}', '\u{9b}', '\u{202e}'];
        assert!(!messages.contains(control_characters), "{line}: {messages:?}");
    }
    assert_eq!(server.session_names().len(), 1);
}

#[test]
fn reports_missing_sessions_before_the_confirmation() {
    let server = three_sessions().start();
    let (succeeded, messages) = answer_no(&server, "delete -A nope -i");
    assert!(!succeeded && messages.contains("\"nope\" not found"), "{messages}");
    assert!(!messages.contains("You are about"), "{messages}");
    let (succeeded, messages) = answer_no(&server, "delete -A nope a -i");
    let (missing, question) = messages.split_once('\n').unwrap();
    assert!(!succeeded && missing.contains("\"nope\" not found"), "{messages}");
    assert!(
        question.starts_with("You are about to delete the following 1 session:\na ("),
        "{messages}"
    );
    let (succeeded, messages) = answer_no(&server, "delete -A nope -i --ignore-not-found");
    assert!(succeeded && messages.is_empty(), "{messages}");
    assert_eq!(server.session_names().len(), 3);
}
