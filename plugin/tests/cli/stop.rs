use mirrord_sessions_plugin::{console::Console, run_on};
use serde_json::json;

use crate::{
    fake::{Fake, status},
    plugin::Ran,
};

fn done(id: &str, namespace: &str) -> String {
    format!("session.operator.metalbear.co \"{id}\" deleted from {namespace} namespace\n")
}

fn denied() -> String {
    let message = "admission webhook \"guard\" denied the request: not yours";
    status(403, "Forbidden", message, &json!({}))
}

const DENIED: &str = "Error from server (Forbidden): session.operator.metalbear.co \"B\" not deleted: admission webhook \"guard\" denied the request: not yours\n";

fn three() -> Fake {
    Fake::new()
        .session("default", "a")
        .session("default", "b")
        .session("default", "c")
}

#[test]
fn names_what_was_and_what_was_not_deleted() {
    let server = three()
        .answer("DELETE /namespaces/default/sessions/b", 403, denied())
        .start();
    for command in ["delete a nope a b c", "kill --id a nope --id b c"] {
        let server = if server.left().len() == 3 {
            &server
        } else {
            &three()
                .answer("DELETE /namespaces/default/sessions/b", 403, denied())
                .start()
        };
        let Ran {
            code,
            out,
            messages,
        } = server.run(command);
        assert_eq!(code, Some(1));
        let mut deleted: Vec<&str> = out.lines().collect();
        deleted.sort_unstable();
        assert_eq!(
            deleted.join("\n") + "\n",
            done("a", "default") + &done("c", "default")
        );
        assert!(
            messages.contains("\"nope\" not found in namespace \"default\""),
            "{messages}"
        );
        assert!(
            messages.contains(&DENIED.replace("\"B\"", "\"b\"")),
            "{messages}"
        );
        assert_eq!(messages.lines().count(), 2, "{messages}");
        assert_eq!(server.left(), ["b"]);
        assert_eq!(server.lines().len(), 4);
    }
}

#[test]
fn ids_in_either_case_and_with_the_resource_before_them() {
    for typed in [
        "487F4F2B6D2376AD",
        "487f4f2b6d2376ad",
        "session.operator.metalbear.co/487f4f2b6d2376ad",
    ] {
        let server = Fake::new().session("shop", "487f4f2b6d2376ad").start();
        let text = server.run(&format!("delete -n shop {typed}")).went_well();
        assert_eq!(text, done("487F4F2B6D2376AD", "shop"));
        assert!(server.left().is_empty());
    }
}

#[test]
fn in_whichever_namespace() {
    let server = Fake::new()
        .session("shop", "487f4f2b6d2376ad")
        .session("default", "twice")
        .session("shop", "twice")
        .start();
    assert_eq!(
        server.run("delete -A 487F4F2B6D2376AD").went_well(),
        done("487F4F2B6D2376AD", "shop")
    );
    assert!(
        server
            .run("delete -A 487F4F2B6D2376AD")
            .failed()
            .contains("not found in any namespace")
    );
    assert_eq!(
        server
            .run("delete -A --ignore-not-found 487F4F2B6D2376AD")
            .went_well(),
        ""
    );
    let message = server.run("delete -A twice").failed();
    assert!(
        message.contains("more than one namespace") && message.contains("(default, shop)"),
        "{message}"
    );
    assert_eq!(server.left().len(), 2);
}

#[test]
fn dry_runs_delete_nothing() {
    let server = three().start();
    let text = server.run("delete a --dry-run=server").went_well();
    assert_eq!(
        text,
        done("a", "default").replace('\n', " (server dry run)\n")
    );
    assert!(server.seen()[0].body.contains("\"dryRun\":[\"All\"]"));
    let text = server.run("delete a --dry-run").went_well();
    assert_eq!(text, done("a", "default").replace('\n', " (dry run)\n"));
    assert_eq!(server.lines()[1], "GET /namespaces/default/sessions/a");
    assert_eq!(
        server
            .run("kill-all --dry-run=server")
            .went_well()
            .lines()
            .count(),
        3
    );
    assert_eq!(
        server
            .run("kill-all --dry-run=client")
            .went_well()
            .lines()
            .count(),
        3
    );
    assert_eq!(server.left().len(), 3);
}

#[test]
fn what_makes_every_request_fail_is_said_once() {
    let server = three()
        .answer(
            "DELETE /namespaces/default/sessions/b",
            401,
            status(401, "Unauthorized", "Unauthorized", &json!({})),
        )
        .start();
    let Ran {
        code,
        out,
        messages,
    } = server.run("delete a b c");
    assert_eq!((code, out), (Some(1), done("a", "default")));
    assert!(
        messages.starts_with("Not deleted: b, c\nerror: You must be logged in"),
        "{messages}"
    );
    assert_eq!(server.left(), ["b", "c"]);
}

#[test]
fn kill_all_deletes_the_collection() {
    let server = three().session("shop", "x").start();
    let text = server.run("kill-all").went_well();
    assert_eq!(text, ["a", "b", "c"].map(|id| done(id, "default")).concat());
    assert_eq!(
        server.lines(),
        [
            "GET /namespaces/default/sessions",
            "DELETE /namespaces/default/sessions"
        ]
    );
    assert_eq!(server.left(), ["x"]);
}

#[test]
fn kill_all_goes_namespace_by_namespace() {
    let server = three()
        .session("shop", "x")
        .forbid(
            "DELETE /namespaces/default/sessions",
            "deletecollection",
            Some("default"),
        )
        .start();
    let text = server.run("kill-all -A --yes").went_well();
    assert_eq!(
        text,
        ["a", "b", "c"].map(|id| done(id, "default")).concat() + &done("x", "shop")
    );
    assert_eq!(
        server.lines(),
        [
            "GET /sessions",
            "DELETE /namespaces/default/sessions",
            "DELETE /namespaces/default/sessions/a",
            "DELETE /namespaces/default/sessions/b",
            "DELETE /namespaces/default/sessions/c",
            "DELETE /namespaces/shop/sessions",
        ]
    );
}

#[test]
fn kill_all_goes_on_where_one_is_refused() {
    let server = three()
        .session("shop", "x")
        .answer("DELETE /namespaces/default/sessions/b", 403, denied())
        .start();
    let Ran {
        code,
        out,
        messages,
    } = server.run("kill-all -A");
    assert_eq!(code, Some(1));
    // "a" was deleted by the request that "b" stopped.
    assert_eq!(
        out,
        done("a", "default") + &done("c", "default") + &done("x", "shop")
    );
    assert_eq!(messages, DENIED.replace("\"B\"", "\"b\""));
    assert_eq!(server.left(), ["b"]);
}

#[test]
fn kill_all_asks_whoever_sits_at_a_terminal() {
    for (arguments, answer, deleted, asked) in [
        ("kill-all", "n\n", 0, true),
        ("kill-all", "", 0, true),
        ("kill-all", "y\n", 3, true),
        ("kill-all --yes", "n\n", 3, false),
        ("kill-all --dry-run=server", "n\n", 0, false),
    ] {
        let server = three().start();
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut messages, Some(Box::new(answer.as_bytes())));
        let kubeconfig = format!("--kubeconfig {}", server.kubeconfig().display());
        let line = format!("plugin {arguments} {kubeconfig}");
        assert!(run_on(&mut console, line.split(' ').map(Into::into)));
        drop(console);
        let messages = String::from_utf8(messages).unwrap();
        assert_eq!(3 - server.left().len(), deleted, "{arguments} {answer:?}");
        let warning = "You are about to delete the following 3 sessions:\nSESSION ID   TARGET";
        assert_eq!(messages.starts_with(warning), asked, "{messages}");
        assert_eq!(
            messages.contains("Do you want to continue? (y/N): "),
            asked,
            "{messages}"
        );
        assert_eq!(
            messages.contains("deletion is cancelled"),
            asked && deleted == 0,
            "{messages}"
        );
    }
}

#[test]
fn kill_all_needs_no_list_of_its_namespace() {
    let forbidden = || three().forbid("GET /namespaces/default/sessions", "list", Some("default"));
    let server = forbidden().start();
    assert_eq!(server.run("kill-all").went_well().lines().count(), 3);

    let server = forbidden()
        .answer("DELETE /namespaces/default/sessions/b", 403, denied())
        .start();
    let Ran {
        code,
        out,
        messages,
    } = server.run("kill-all");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        messages
            .contains("denied the request: not yours\nNot all sessions of namespace \"default\""),
        "{messages}"
    );

    let server = forbidden()
        .forbid(
            "DELETE /namespaces/default/sessions",
            "deletecollection",
            Some("default"),
        )
        .start();
    let message = server.run("kill-all").failed();
    assert!(
        message.contains("cannot deletecollection sessions.operator.metalbear.co"),
        "{message}"
    );

    let server = three().forbid("GET /sessions", "list", None).start();
    let message = server.run("kill-all -A").failed();
    assert!(
        message.contains("create clusterrolebinding")
            && message.contains("or name a namespace with -n"),
        "{message}"
    );
    assert_eq!(server.left().len(), 3);
}

#[test]
fn kill_all_reports_what_the_server_says() {
    // Another session came up after the list; and a server that answers with a Status only.
    let deleted = json!({ "kind": "SessionList", "items": [
        { "metadata": { "name": "a", "namespace": "default" } },
        { "metadata": { "name": "new", "namespace": "default" } },
    ]});
    let success = json!({ "kind": "Status", "status": "Success" });
    for (answer, ids) in [(deleted, vec!["a", "new"]), (success, vec!["a", "b", "c"])] {
        let server = three()
            .answer(
                "DELETE /namespaces/default/sessions",
                200,
                answer.to_string(),
            )
            .start();
        let expected: String = ids.iter().map(|id| done(id, "default")).collect();
        assert_eq!(server.run("kill-all").went_well(), expected);
    }
}

#[test]
fn kill_all_that_cannot_go_on_names_what_is_left() {
    let down = status(503, "ServiceUnavailable", "down", &json!({}));
    let server = three()
        .session("shop", "x")
        .answer("DELETE /namespaces/default/sessions", 503, down)
        .start();
    let Ran {
        code,
        out,
        messages,
    } = server.run("kill-all -A");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        messages,
        "Not deleted: a, b, c\nNot deleted: x\nError from server (ServiceUnavailable): down: try again later\n"
    );
}

fn held(id: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": { "name": id, "namespace": "default", "finalizers": ["example.com/hold"], "deletionTimestamp": "2026-11-22T20:00:00Z" },
    })
}

#[test]
fn what_finalizers_hold_up_is_not_called_deleted() {
    let one = held("b").to_string();
    let all = serde_json::json!({ "kind": "SessionList", "items": [held("b")] }).to_string();
    let server = three()
        .answer("DELETE /namespaces/default/sessions/b", 200, one)
        .answer("DELETE /namespaces/default/sessions", 200, all)
        .start();
    let expected = "error: session \"b\" in namespace \"default\" is marked for deletion and held up by its finalizers (example.com/hold): whoever set them has to remove them\n";
    for line in ["delete b", "kill-all"] {
        let Ran {
            code,
            out,
            messages,
        } = server.run(line);
        assert_eq!(
            (code, out.as_str(), messages.as_str()),
            (Some(1), "", expected),
            "{line}"
        );
    }
}

#[test]
fn a_dry_run_that_may_not_look_says_so() {
    let server = three()
        .forbid("GET /namespaces/default/sessions", "list", Some("default"))
        .start();
    let Ran {
        code,
        out,
        messages,
    } = server.run("kill-all --dry-run=client");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{messages}");
    assert!(messages.contains("cannot list sessions"), "{messages}");
}
