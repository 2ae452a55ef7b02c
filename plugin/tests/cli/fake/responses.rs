//! The API of the fake server: reads and writes of Sessions and trackers.

use serde_json::{Value, json};

use super::{ReceivedRequest, Response, SESSIONS, State, TRACKERS, status, text};

fn ok(body: &Value) -> Response {
    Response { code: 200, headers: "", body: body.to_string() }
}

fn rule_response(state: &State, request: &ReceivedRequest) -> Option<Response> {
    state.rules.iter().find_map(|rule| rule(request))
}

/// Returns the response of a rule, or else that of the API.
pub(super) fn respond(state: &State, request: &ReceivedRequest) -> Response {
    if let Some(response) = rule_response(state, request) {
        return response;
    }
    let not_found = || Response { code: 404, headers: "", body: "404 page not found\n".into() };
    if request.path == "/version" {
        return ok(&json!({ "gitVersion": "v1.36.3" }));
    }
    if request.path == SESSIONS {
        return ok(&json!({ "kind": "APIResourceList", "resources": [{ "name": "sessions" }] }));
    }
    if request.path.starts_with("/api/v1/namespaces/") && request.path.ends_with("/events") {
        return ok(&json!({ "kind": "EventList", "items": [] }));
    }
    if request.path == TRACKERS {
        return ok(
            &json!({ "kind": "APIResourceList", "resources": [{ "name": "sessiontrackers" }] }),
        );
    }
    if request.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews" {
        return ok(&json!({ "status": { "userInfo": { "username": "avi@x" } } }));
    }
    let (rest, is_tracker) = match request.path.strip_prefix(TRACKERS) {
        Some(rest) => (rest, true),
        None => match request.path.strip_prefix(SESSIONS) {
            Some(rest) => (rest, false),
            None => return not_found(),
        },
    };
    let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
    let (namespace, name) = match parts[..] {
        ["sessions" | "sessiontrackers"] => (None, None),
        ["namespaces", namespace, "sessions" | "sessiontrackers"] => (Some(namespace), None),
        ["namespaces", namespace, "sessions" | "sessiontrackers", name] => {
            (Some(namespace), Some(name))
        }
        ["namespaces", namespace, "sessiontrackers", name, "join"] => {
            return join(state, namespace, name);
        }
        ["namespaces", namespace, "sessiontrackers", name, "report"] => {
            return report(state, request, namespace, name);
        }
        _ => return not_found(),
    };
    let method = match request.method.as_str() {
        "DELETE" | "POST" if is_tracker => "",
        method => method,
    };
    match (method, namespace, name) {
        ("GET", _, None) => list(state, request, namespace),
        ("GET", _, Some(name)) => get_or_delete(state, request, namespace, name, false),
        ("DELETE", _, Some(name)) => get_or_delete(state, request, namespace, name, true),
        ("POST", Some(namespace), None) => create(state, request, namespace),
        ("DELETE", Some(namespace), None) => delete_all(state, request, namespace),
        _ => Response { code: 405, ..not_found() },
    }
}

fn is_in(session: &Value, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| text(session, "/metadata/namespace") == namespace)
}

/// Returns whether an object matches a selector.
fn matches_selector(session: &Value, selector: &str) -> bool {
    selector.split(',').all(|term| {
        let equal = !term.contains("!=");
        let term = term.replace("!=", "=");
        let (path, value) = term.split_once('=').unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        (text(session, &pointer) == value) == equal
    })
}

/// Returns a session with the kind of the requested resource.
fn as_requested_kind(session: &Value, request: &ReceivedRequest) -> Value {
    let mut shown = session.clone();
    if request.path.starts_with(TRACKERS) && session.get("kind").is_some() {
        shown["apiVersion"] = json!("visibility.operator.metalbear.co/v1");
        shown["kind"] = json!("SessionTracker");
    }
    shown
}

fn join(state: &State, namespace: &str, name: &str) -> Response {
    let sessions = state.sessions.lock().unwrap();
    let found = sessions
        .iter()
        .find(|session| is_in(session, Some(namespace)) && text(session, "/metadata/name") == name);
    let mut status = json!({ "participants": ["avi@x", "dev"] });
    let key = found.and_then(|session| session.pointer("/spec/key")?.as_str());
    if let Some(key) = key {
        status["key"] = json!(key);
        status["header"] = json!({ "name": "baggage", "value": format!("mirrord-session={key}") });
    }
    ok(&json!({
        "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionJoin",
        "metadata": { "name": name, "namespace": namespace }, "status": status,
    }))
}

/// Handles a report; the last report deletes the session.
fn report(state: &State, request: &ReceivedRequest, namespace: &str, name: &str) -> Response {
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let is_last = sent["spec"]["ended"] == true;
    let found = get_or_delete(state, request, Some(namespace), name, is_last);
    if found.code != 200 {
        return found;
    }
    let status = if is_last { json!({}) } else { json!({ "periodSeconds": 1 }) };
    ok(&json!({ "spec": sent["spec"], "status": status }))
}

fn list(state: &State, request: &ReceivedRequest, namespace: Option<&str>) -> Response {
    let fields = request.query.get("fieldSelector");
    let labels = request.query.get("labelSelector");
    let sessions = state.sessions.lock().unwrap();
    let all: Vec<&Value> = sessions
        .iter()
        .filter(|session| is_in(session, namespace))
        .filter(|session| fields.is_none_or(|selector| matches_selector(session, selector)))
        .filter(|session| {
            labels.is_none_or(|selector| matches_selector(&session["metadata"]["labels"], selector))
        })
        .collect();
    let start: usize = request.query.get("continue").map_or(0, |token| token.parse().unwrap());
    let limit = request.query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
    let page = all.iter().skip(start).take(limit);
    let page: Vec<Value> = page.map(|session| as_requested_kind(session, request)).collect();
    let end = start + page.len();
    let next = if end < all.len() { end.to_string() } else { String::new() };
    ok(&json!({ "kind": "SessionList", "metadata": { "continue": next }, "items": page }))
}

fn get_or_delete(
    state: &State,
    request: &ReceivedRequest,
    namespace: Option<&str>,
    name: &str,
    delete: bool,
) -> Response {
    let mut sessions = state.sessions.lock().unwrap();
    let found = sessions
        .iter()
        .position(|session| is_in(session, namespace) && text(session, "/metadata/name") == name);
    match found {
        Some(at) if delete && !request.body.contains("\"All\"") => ok(&sessions.remove(at)),
        Some(at) => ok(&as_requested_kind(&sessions[at], request)),
        None => {
            let message = format!("sessions.operator.metalbear.co \"{name}\" not found");
            let details = json!({ "name": name, "kind": "sessions" });
            let body = status(404, "NotFound", &message, &details);
            Response { code: 404, headers: "", body }
        }
    }
}

fn create(state: &State, request: &ReceivedRequest, namespace: &str) -> Response {
    let mut session: Value = serde_json::from_str(&request.body).unwrap();
    let name = text(&session, "/metadata/name").to_owned();
    let has_name =
        |known: &Value| is_in(known, Some(namespace)) && text(known, "/metadata/name") == name;
    if state.sessions.lock().unwrap().iter().any(has_name) {
        let message = format!("sessions.operator.metalbear.co \"{name}\" already exists");
        let details = json!({ "name": name, "kind": "sessions" });
        return Response {
            code: 409,
            headers: "",
            body: status(409, "AlreadyExists", &message, &details),
        };
    }
    session["metadata"]["namespace"] = json!(namespace);
    session["metadata"]["uid"] = json!(format!("uid-{name}"));
    session["spec"]["owner"] = json!({ "username": "avi@x" });
    if !request.query.contains_key("dryRun") {
        state.sessions.lock().unwrap().push(session.clone());
    }
    ok(&session)
}

/// Deletes sessions one by one until a rule denies one, like the API server.
fn delete_all(state: &State, request: &ReceivedRequest, namespace: &str) -> Response {
    let mut sessions = state.sessions.lock().unwrap();
    let mut deleted = Vec::new();
    while let Some(at) = sessions.iter().position(|session| is_in(session, Some(namespace))) {
        let path = format!("{}/{}", request.path, text(&sessions[at], "/metadata/name"));
        let single = ReceivedRequest { path, ..request.clone() };
        if let Some(response) = rule_response(state, &single) {
            return response;
        }
        deleted.push(sessions.remove(at));
    }
    if request.body.contains("\"All\"") {
        sessions.extend(deleted.iter().cloned());
    }
    ok(&json!({ "kind": "SessionList", "metadata": {}, "items": deleted }))
}
