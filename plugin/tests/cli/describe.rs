use serde_json::json;

use crate::fake::{Fake, status};

#[test]
fn describes_several_sessions_and_reports_a_missing_one() {
    let server = Fake::new().session("default", "487f4f2b6d2376ad").session("default", "b").start();
    let output = server.run("describe 487F4F2B6D2376AD nope b 487f4f2b6d2376ad");
    assert_eq!(output.code, Some(1));
    assert_eq!(output.out.matches("Name:").count(), 2, "{}", output.out);
    assert!(output.out.contains("Session ID:        487F4F2B6D2376AD\n"), "{}", output.out);
    assert!(
        output.out.contains("Events:            <none>\n\n\nName:              b\n"),
        "{}",
        output.out
    );
    assert!(output.messages.starts_with("Error from server (NotFound): "), "{}", output.messages);
    let events = server
        .all_requests()
        .into_iter()
        .find(|request| request.path.ends_with("/events"))
        .unwrap();
    assert_eq!(
        events.query["fieldSelector"],
        "involvedObject.kind=Session,involvedObject.name=487f4f2b6d2376ad,involvedObject.namespace=default,involvedObject.uid=uid-487f4f2b6d2376ad"
    );
}

#[test]
fn describes_sessions_of_all_namespaces() {
    let server = Fake::new().session("default", "a").session("shop", "b").start();
    assert!(server.run("describe -A b").succeeds().contains("Namespace:         shop\n"));
    assert_eq!(server.run("describe -A").succeeds().matches("Name:").count(), 2);
    assert!(server.run("describe -A c").fails().contains("not found in any namespace"));
}

#[test]
fn describes_sessions_without_access_to_events() {
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
            .respond("GET /api/v1/namespaces/default/events", code, body)
            .start();
        let text = server.run("describe a").succeeds();
        assert!(text.contains("Target:            deployment/counter\n"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn selects_by_labels_and_omits_events() {
    let server = Fake::new().session("default", "a").start();
    let text = server.run("describe a --show-events=false").succeeds();
    assert!(text.contains("Name:") && !text.contains("Events:"), "{text}");
    assert!(!server.lines().iter().any(|line| line.contains("/events")));
    let output = server.run("describe a -l x=y");
    assert_eq!(
        (output.code, output.messages.as_str()),
        (Some(1), "error: name cannot be provided when a selector is specified\n")
    );
    let output = server.run("describe -l x=y --chunk-size=7");
    assert_eq!(output.code, Some(0), "{output:?}");
    let list_request = server
        .all_requests()
        .into_iter()
        .find(|request| request.query.contains_key("labelSelector"))
        .unwrap();
    assert_eq!(list_request.query["labelSelector"], "x=y");
    assert_eq!(list_request.query["limit"], "7");
}
