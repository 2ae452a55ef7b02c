use serde_json::{Value, json};

use crate::fake::{Fake, session, status};

fn with_key() -> Fake {
    let mut keyed = session("default", "487f4f2b6d2376ad");
    keyed["spec"]["key"] = json!("avi");
    Fake::new().object(keyed).session("default", "plain")
}

#[test]
fn with_a_key_there_is_a_header() {
    let server = with_key().start();
    let text = server.run("join 487F").went_well();
    assert_eq!(
        text,
        "Joined session 487F4F2B6D2376AD of Avi/avi@x@host on deployment/counter in default namespace.\n\
         Requests with this header go to it:\n\
         \x20 baggage: mirrord-session=avi\n\
         For example:\n\
         \x20 curl -H 'baggage: mirrord-session=avi' http://ADDRESS\n\
         Participants: avi@x, dev\n"
    );
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.line(), "POST /namespaces/default/sessiontrackers/487f4f2b6d2376ad/join");
    assert_eq!(
        serde_json::from_str::<Value>(&asked.body).unwrap(),
        json!({ "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionJoin" })
    );
    let json: Value =
        serde_json::from_str(&server.run("join 487F4F2B6D2376AD -o json").went_well()).unwrap();
    assert_eq!(json["status"]["key"], "avi");
    assert_eq!(
        server.run("join -A 487F4F2B6D2376AD -o name").went_well(),
        "session.operator.metalbear.co/487f4f2b6d2376ad\n"
    );
}

#[test]
fn without_a_key_that_is_said() {
    let server = with_key().start();
    let text = server.run("join plain").went_well();
    assert!(text.contains("It has no key, and so there is no header"), "{text}");
    assert!(!text.contains("curl"), "{text}");
    // Wherever it is.
    let server = Fake::new().session("shop", "plain").start();
    let text = server.run("join plain -n shop").went_well();
    let hint = "\"kubectl mirrord-sessions describe plain -n shop\" shows them";
    assert!(text.contains(hint), "{text}");
}

#[test]
fn refusals() {
    let server = with_key().start();
    let message = server.run("join nope").failed();
    assert!(message.contains("\"nope\" not found in namespace \"default\""), "{message}");

    let forbidden = "sessiontrackers.visibility.operator.metalbear.co \"plain\" is forbidden: User \"dev\" cannot create resource \"sessiontrackers/join\" in API group \"visibility.operator.metalbear.co\" in the namespace \"default\"";
    let server = with_key()
        .answer(
            "POST /namespaces/default/sessiontrackers/plain/join",
            403,
            status(403, "Forbidden", forbidden, &json!({})),
        )
        .start();
    let message = server.run("join plain").failed();
    assert!(
        message.starts_with("Error from server (Forbidden): User \"dev\" cannot create sessiontrackers/join.visibility.operator.metalbear.co \"plain\" in namespace \"default\": ask an administrator for it"),
        "{message}"
    );

    let server = with_key().without_trackers().start();
    let messages = server.run("join plain").messages;
    assert!(
        messages.contains("error: sessions are joined by sessiontrackers.visibility.operator.metalbear.co, which this cluster does not serve"),
        "{messages}"
    );

    // Who may join and not look joins what they know of.
    let server = with_key()
        .forbid("GET /namespaces/default/sessiontrackers/plain", "get", Some("default"))
        .start();
    let text = server.run("join plain").went_well();
    assert!(text.starts_with("Joined session plain.\n"), "{text}");
}
