use serde_json::{Value, json};

use crate::fake::{Fake, session, status};

fn with_key() -> Fake {
    let mut keyed = session("default", "487f4f2b6d2376ad");
    keyed["spec"]["key"] = json!("avi");
    Fake::new().object(keyed).session("default", "plain")
}

#[test]
fn prints_the_header_of_a_key() {
    let server = with_key().start();
    let text = server.run("join 487F").succeeds();
    assert_eq!(
        text,
        "Joined session 487F4F2B6D2376AD of Avi/avi@x@host on deployment/counter in default namespace.\n\
         Requests with this header are routed to the session:\n\
         \x20 baggage: mirrord-session=avi\n\
         For example:\n\
         \x20 curl -H 'baggage: mirrord-session=avi' http://ADDRESS\n\
         Participants: avi@x, dev\n"
    );
    let request = server.requests().pop().unwrap();
    assert_eq!(request.line(), "POST /namespaces/default/sessiontrackers/487f4f2b6d2376ad/join");
    assert_eq!(
        serde_json::from_str::<Value>(&request.body).unwrap(),
        json!({ "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionJoin" })
    );
    let json: Value =
        serde_json::from_str(&server.run("join 487F4F2B6D2376AD -o json").succeeds()).unwrap();
    assert_eq!(json["status"]["key"], "avi");
    assert_eq!(
        server.run("join -A 487F4F2B6D2376AD -o name").succeeds(),
        "session.operator.metalbear.co/487f4f2b6d2376ad\n"
    );
}

#[test]
fn reports_a_session_without_a_key() {
    let server = with_key().start();
    let text = server.run("join plain").succeeds();
    assert!(text.contains("The session has no key, so no header"), "{text}");
    assert!(!text.contains("curl"), "{text}");
    // The session is in another namespace.
    let server = Fake::new().session("shop", "plain").start();
    let text = server.run("join plain -n shop").succeeds();
    let hint = "\"kubectl mirrord-sessions describe plain -n shop\" shows them";
    assert!(text.contains(hint), "{text}");
}

#[test]
fn reports_denied_joins() {
    let server = with_key().start();
    let message = server.run("join nope").fails();
    assert!(message.contains("\"nope\" not found in namespace \"default\""), "{message}");

    let forbidden = "sessiontrackers.visibility.operator.metalbear.co \"plain\" is forbidden: User \"dev\" cannot create resource \"sessiontrackers/join\" in API group \"visibility.operator.metalbear.co\" in the namespace \"default\"";
    let server = with_key()
        .respond(
            "POST /namespaces/default/sessiontrackers/plain/join",
            403,
            status(403, "Forbidden", forbidden, &json!({})),
        )
        .start();
    let message = server.run("join plain").fails();
    assert!(
        message.starts_with("Error from server (Forbidden): User \"dev\" cannot create sessiontrackers/join.visibility.operator.metalbear.co \"plain\" in namespace \"default\": ask an administrator for it"),
        "{message}"
    );

    let server = with_key().without_trackers().start();
    let messages = server.run("join plain").messages;
    assert!(
        messages.contains("error: joining requires sessiontrackers.visibility.operator.metalbear.co, which this cluster does not serve"),
        "{messages}"
    );

    // A user who may join and not read joins a known ID.
    let server = with_key()
        .forbid("GET /namespaces/default/sessiontrackers/plain", "get", Some("default"))
        .start();
    let text = server.run("join plain").succeeds();
    assert!(text.starts_with("Joined session plain.\n"), "{text}");
}
