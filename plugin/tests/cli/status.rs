use serde_json::{Value, json};

use crate::{
    fake::{Fake, ReceivedRequest, Response, session, status},
    plugin::CommandOutput,
};

const CREATE: &str = "POST /namespaces/default/sessions";

fn forbidden(user: &str) -> Response {
    let message = format!(
        "x.example \"x\" is forbidden: User {user:?} cannot get resource \"x\" in API group \"example\" at the cluster scope"
    );
    Response { code: 403, headers: "", body: status(403, "Forbidden", &message, &json!({})) }
}

/// Serves what developers may read: sessions, and nothing of the installation.
fn with_developer_access(fake: Fake) -> Fake {
    fake.rule(|request: &ReceivedRequest| {
        let hidden = [
            "/apis/admissionregistration.k8s.io/",
            "/apis/apps/",
            "/apis/apiregistration.k8s.io/",
            "/apis/rbac.authorization.k8s.io/",
            "/api/v1/namespaces/mirrord-sessions/",
        ];
        let is_hidden = hidden.iter().any(|path| request.path.starts_with(path));
        is_hidden.then(|| forbidden("dev"))
    })
}

fn check_result(output: &CommandOutput, name: &str) -> (String, String) {
    let value: Value = serde_json::from_str(&output.out).unwrap();
    let checks = value["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"))
}

#[test]
fn reports_missing_trackers_as_off_to_developers() {
    let server = with_developer_access(Fake::new()).without_trackers().start();
    let output = server.run("status -o json");
    assert_eq!(check_result(&output, "trackers").0, "off", "{output:?}");
    assert_eq!(check_result(&output, "webhook").0, "ok", "{output:?}");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(server.session_names().is_empty());
}

#[test]
fn reports_unreachable_trackers() {
    // The aggregator reports an unreachable backend as plain text, not as a Status.
    let down = "GET /namespaces/default/sessiontrackers";
    let server = with_developer_access(Fake::new())
        .respond(down, 503, "service unavailable\n".to_owned())
        .start();
    let output = server.run("status -o json");
    let (state, message) = check_result(&output, "trackers");
    assert_eq!(state, "problem", "{output:?}");
    assert_eq!(message, "the API server can't reach them: service unavailable");
    assert_eq!(output.code, Some(1), "{output:?}");
}

#[test]
fn reports_a_bypassed_webhook_to_developers() {
    let denial = "sessions.operator.metalbear.co \"status-x\" is forbidden: ValidatingAdmissionPolicy 'sessions.mirrord-sessions' with binding 'sessions.mirrord-sessions' denied request: the Session has no spec.owner: the webhook that writes it was not asked";
    let server = with_developer_access(Fake::new())
        .respond(CREATE, 403, status(403, "Forbidden", denial, &json!({})))
        .start();
    let output = server.run("status -o json");
    assert_eq!(
        check_result(&output, "webhook"),
        ("problem".to_owned(), "it was not called for a new Session".to_owned())
    );
    assert_eq!(output.code, Some(1), "{output:?}");
}

#[test]
fn names_a_missing_namespace() {
    let details = json!({ "name": "nope", "kind": "namespaces" });
    let not_found = status(404, "NotFound", "namespaces \"nope\" not found", &details);
    let server = with_developer_access(Fake::new())
        .respond("POST /namespaces/nope/sessions", 404, not_found)
        .start();
    let output = server.run("status -n nope -o json");
    let (state, message) = check_result(&output, "webhook");
    assert_eq!(state, "warning", "{output:?}");
    assert_eq!(
        message,
        "a Session can't be created here: Error from server (NotFound): namespaces \"nope\" not found: name an existing one with -n"
    );
}

#[test]
fn reports_missing_credentials() {
    let server = Fake::new()
        .rule(|request| (request.path != "/version").then(|| forbidden("system:anonymous")))
        .start();
    let message = server.run("status").fails();
    assert!(message.contains("You must be logged in"), "{message}");
}

#[test]
fn counts_sessions_like_lists() {
    let mut ended = session("default", "over");
    ended["status"]["state"] = json!("terminated");
    let fake = || with_developer_access(Fake::new()).object(ended.clone());
    let server = fake().start();
    let text = server.run("status").succeeds();
    assert!(text.ends_with("\nNo sessions found\n"), "{text}");

    // A requester who may list one namespace gets the count of that.
    let restricted = || fake().forbid("GET /sessiontrackers", "list", None).session("shop", "b");
    let text = restricted().start().run("status").succeeds();
    assert!(text.ends_with("\nNo sessions found in default namespace.\n"), "{text}");
    let text = restricted().session("default", "a").start().run("status").succeeds();
    assert!(
        text.ends_with(
            "\ndefault     avi@x   1\nYour roles don't show the sessions of other namespaces\n"
        ),
        "{text}"
    );
}
