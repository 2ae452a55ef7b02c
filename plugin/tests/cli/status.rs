use serde_json::{Value, json};

use crate::{
    fake::{Answer, Fake, Seen, session, status},
    plugin::Ran,
};

const CREATE: &str = "POST /namespaces/default/sessions";

fn forbidden(user: &str) -> Answer {
    let message = format!(
        "x.example \"x\" is forbidden: User {user:?} cannot get resource \"x\" in API group \"example\" at the cluster scope"
    );
    Answer { code: 403, headers: "", body: status(403, "Forbidden", &message, &json!({})) }
}

/// What developers see of a cluster: sessions, and nothing of how they are looked after.
fn developers(fake: Fake) -> Fake {
    fake.rule(|seen: &Seen| {
        let hidden = [
            "/apis/admissionregistration.k8s.io/",
            "/apis/apps/",
            "/apis/apiregistration.k8s.io/",
            "/apis/rbac.authorization.k8s.io/",
            "/api/v1/namespaces/mirrord-sessions/",
        ];
        let is_hidden = hidden.iter().any(|path| seen.path.starts_with(path));
        is_hidden.then(|| forbidden("dev"))
    })
}

fn checked(ran: &Ran, name: &str) -> (String, String) {
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    let checks = value["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"))
}

#[test]
fn trackers_that_are_not_served_are_no_problem_to_developers_either() {
    let server = developers(Fake::new()).without_trackers().start();
    let ran = server.run("status -o json");
    assert_eq!(checked(&ran, "trackers").0, "off", "{ran:?}");
    assert_eq!(checked(&ran, "webhook").0, "ok", "{ran:?}");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(server.left().is_empty());
}

#[test]
fn trackers_that_nobody_serves_are_told_as_such() {
    // The aggregator's own words, which are no Status.
    let down = "GET /namespaces/default/sessiontrackers";
    let server =
        developers(Fake::new()).answer(down, 503, "service unavailable\n".to_owned()).start();
    let ran = server.run("status -o json");
    let (state, message) = checked(&ran, "trackers");
    assert_eq!(state, "problem", "{ran:?}");
    assert_eq!(message, "the API server can't reach them: service unavailable");
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn a_webhook_that_is_not_asked_is_a_problem_to_developers_too() {
    let refused = "sessions.operator.metalbear.co \"status-x\" is forbidden: ValidatingAdmissionPolicy 'sessions.mirrord-sessions' with binding 'sessions.mirrord-sessions' denied request: the Session has no spec.owner: the webhook that writes it was not asked";
    let server = developers(Fake::new())
        .answer(CREATE, 403, status(403, "Forbidden", refused, &json!({})))
        .start();
    let ran = server.run("status -o json");
    assert_eq!(
        checked(&ran, "webhook"),
        ("problem".to_owned(), "it was not called for a Session".to_owned())
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let details = json!({ "name": "nope", "kind": "namespaces" });
    let refused = status(404, "NotFound", "namespaces \"nope\" not found", &details);
    let server =
        developers(Fake::new()).answer("POST /namespaces/nope/sessions", 404, refused).start();
    let ran = server.run("status -n nope -o json");
    let (state, message) = checked(&ran, "webhook");
    assert_eq!(state, "warning", "{ran:?}");
    assert_eq!(
        message,
        "a Session can't be created here: Error from server (NotFound): namespaces \"nope\" not found: name an existing one with -n"
    );
}

#[test]
fn whoever_is_not_logged_in_is_told_so() {
    let server = Fake::new()
        .rule(|seen| (seen.path != "/version").then(|| forbidden("system:anonymous")))
        .start();
    let message = server.run("status").failed();
    assert!(message.contains("You must be logged in"), "{message}");
}

#[test]
fn sessions_are_counted_as_lists_show_them() {
    let mut over = session("default", "over");
    over["status"]["state"] = json!("terminated");
    let fake = || developers(Fake::new()).object(over.clone());
    let server = fake().start();
    let text = server.run("status").went_well();
    assert!(text.ends_with("\nNo sessions found\n"), "{text}");

    // Who sees one namespace alone is told that.
    let one = || fake().forbid("GET /sessiontrackers", "list", None).session("shop", "b");
    let text = one().start().run("status").went_well();
    assert!(text.ends_with("\nNo sessions found in default namespace.\n"), "{text}");
    let text = one().session("default", "a").start().run("status").went_well();
    assert!(
        text.ends_with(
            "\ndefault     avi@x   1\nYour roles don't show the sessions of other namespaces\n"
        ),
        "{text}"
    );
}
