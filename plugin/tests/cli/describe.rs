use serde_json::json;

use crate::fake::{Fake, status};

#[test]
fn several_and_one_that_is_not_there() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").session("default", "b").start();
    let ran = server.run("describe 487F4F2B6D2376AD nope b 487f4f2b6d2376ad");
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out.matches("Name:").count(), 2, "{}", ran.out);
    assert!(ran.out.contains("Session ID:        487F4F2B6D2376AD\n"), "{}", ran.out);
    assert!(
        ran.out.contains("Events:            <none>\n\n\nName:              b\n"),
        "{}",
        ran.out
    );
    assert!(ran.messages.starts_with("Error from server (NotFound): "), "{}", ran.messages);
    let events = server.seen().into_iter().find(|seen| seen.path.ends_with("/events")).unwrap();
    assert_eq!(
        events.query["fieldSelector"],
        "involvedObject.kind=Session,involvedObject.name=487f4f2b6d2376ad,involvedObject.namespace=default,involvedObject.uid=uid-487f4f2b6d2376ad"
    );
}

#[test]
fn in_all_namespaces() {
    let server = Fake::new().session("default", "a").session("shop", "b").start();
    assert!(server.run("describe -A b").went_well().contains("Namespace:         shop\n"));
    assert_eq!(server.run("describe -A").went_well().matches("Name:").count(), 2);
    assert!(server.run("describe -A c").failed().contains("not found in any namespace"));
}

#[test]
fn events_that_cannot_be_had_hide_nothing_else() {
    let message = "events is forbidden: User \"dev\" cannot list resource \"events\" in API group \"\" in the namespace \"default\"";
    let forbidden = status(403, "Forbidden", message, &json!({}));
    for (code, body, expected) in [
        (
            403,
            forbidden.as_str(),
            "Events:            <you may not list events in this namespace>\n",
        ),
        (500, "oops", "Events:            <not available: error: "),
    ] {
        let server = Fake::new()
            .session("default", "a")
            .answer("GET /api/v1/namespaces/default/events", code, body)
            .start();
        let text = server.run("describe a").went_well();
        assert!(text.contains("Target:            deployment/counter\n"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn by_labels_and_without_events() {
    let server = Fake::new().session("default", "a").start();
    let text = server.run("describe a --show-events=false").went_well();
    assert!(text.contains("Name:") && !text.contains("Events:"), "{text}");
    assert!(!server.lines().iter().any(|line| line.contains("/events")));
    let ran = server.run("describe a -l x=y");
    assert_eq!(
        (ran.code, ran.messages.as_str()),
        (Some(1), "error: name cannot be provided when a selector is specified\n")
    );
    let ran = server.run("describe -l x=y --chunk-size=7");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed =
        server.seen().into_iter().find(|seen| seen.query.contains_key("labelSelector")).unwrap();
    assert_eq!(listed.query["labelSelector"], "x=y");
    assert_eq!(listed.query["limit"], "7");
}
