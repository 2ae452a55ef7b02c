use serde_json::{Value, json};

use super::*;

const ID: &str = "487f4f2b6d2376ad";

fn status(code: u16, reason: &str, message: &str, details: &Value) -> Status {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "details": details, "code": code,
    });
    Status::read(code, body.to_string().as_bytes())
}

fn api_error(verb: Verb, id: Option<&str>, namespace: Option<&str>, failure: Status) -> ApiError {
    ApiError {
        host: "example:6443".into(),
        credentials: "user \"dev\"".into(),
        request: RequestInfo {
            verb,
            namespace: namespace.map(Into::into),
            id: id.map(SessionId::from_name),
        },
        status: failure,
        trackers_unavailable: None,
    }
}

fn text_of(verb: Verb, failure: Status) -> String {
    api_error(verb, Some(ID), Some("shop"), failure).to_string()
}

#[test]
fn reports_unauthenticated_requests() {
    let text = text_of(Verb::List, status(401, "Unauthorized", "Unauthorized", &json!({})));
    assert!(text.starts_with("error: You must be logged in to the server (Unauthorized): the credentials of user \"dev\""), "{text}");
}

#[test]
fn suggests_no_rights_for_unauthenticated_users() {
    let message = "sessions.operator.metalbear.co is forbidden: User \"system:anonymous\" cannot list resource \"sessions\" in API group \"operator.metalbear.co\" at the cluster scope";
    let text = text_of(Verb::List, status(403, "Forbidden", message, &json!({})));
    assert!(text.starts_with("error: You must be logged in"), "{text}");
    assert!(!text.contains("rolebinding"), "{text}");
}

#[test]
fn names_missing_rights_and_the_remedy() {
    let cases = [
        (
            r#"sessions.operator.metalbear.co "487f4f2b6d2376ad" is forbidden: User "dev@x" cannot delete resource "sessions" in API group "operator.metalbear.co" in the namespace "shop""#,
            r#"Error from server (Forbidden): User "dev@x" cannot delete sessions.operator.metalbear.co "487F4F2B6D2376AD" in namespace "shop": ask an administrator for it: kubectl create rolebinding mirrord-operator-user:dev@x --clusterrole=mirrord-operator-user --user=dev@x -n shop"#,
        ),
        (
            r#"sessions.operator.metalbear.co is forbidden: User "https://x#Zoë \"q\"" cannot list resource "sessions" in API group "operator.metalbear.co" at the cluster scope"#,
            r#"Error from server (Forbidden): User "https://x#Zoë \"q\"" cannot list sessions.operator.metalbear.co "487F4F2B6D2376AD" in all namespaces: ask an administrator for it: kubectl create clusterrolebinding 'mirrord-operator-user:https:--x#Zoë "q"' --clusterrole=mirrord-operator-user --user='https://x#Zoë "q"'; or name a namespace with -n"#,
        ),
        (
            r#"sessions.operator.metalbear.co is forbidden: User "system:serviceaccount:ci:bot" cannot deletecollection resource "sessions" in API group "operator.metalbear.co" in the namespace "shop": RBAC: clusterrole.rbac.authorization.k8s.io "a" not found"#,
            r#"Error from server (Forbidden): User "system:serviceaccount:ci:bot" cannot deletecollection sessions.operator.metalbear.co "487F4F2B6D2376AD" in namespace "shop": RBAC: clusterrole.rbac.authorization.k8s.io "a" not found: ask an administrator for it: kubectl create rolebinding mirrord-operator-user:system:serviceaccount:ci:bot --clusterrole=mirrord-operator-user --serviceaccount=ci:bot -n shop"#,
        ),
        (
            r#"users "bob" is forbidden: User "dev" cannot impersonate resource "users" in API group "" at the cluster scope"#,
            r#"Error from server (Forbidden): User "dev" cannot impersonate users at the cluster scope: leave out --as, --as-group and --as-uid, or ask an administrator for a role that allows it"#,
        ),
        (
            r#"sessions.operator.metalbear.co is forbidden: User "dev" cannot impersonate-on:user-info:list resource "sessions" in API group "operator.metalbear.co" in the namespace "shop""#,
            r#"Error from server (Forbidden): User "dev" cannot impersonate-on:user-info:list sessions.operator.metalbear.co "487F4F2B6D2376AD" in namespace "shop": leave out --as, --as-group and --as-uid, or ask an administrator for a role that allows it"#,
        ),
        (
            r#"events is forbidden: User "dev" cannot list resource "events" in API group "" in the namespace "shop""#,
            r#"Error from server (Forbidden): User "dev" cannot list events in namespace "shop": ask an administrator for a role that allows it"#,
        ),
    ];
    for (message, expected) in cases {
        let failure = status(403, "Forbidden", message, &json!({}));
        let api_error = api_error(Verb::Delete, Some(ID), Some("shop"), failure);
        assert!(api_error.is_rbac(), "{message}");
        assert!(!api_error.is_fatal(), "{message}");
        assert_eq!(api_error.to_string(), expected);
    }
}

#[test]
fn prints_admission_denials_verbatim() {
    let cases = [
        (
            status(
                403,
                "Forbidden",
                "admission webhook \"sessions.x\" denied the request: not yours",
                &json!({}),
            ),
            "Error from server (Forbidden): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: admission webhook \"sessions.x\" denied the request: not yours",
        ),
        (
            status(
                404,
                "NotFound",
                "admission webhook \"others.x\" denied the request: no such team",
                &json!({}),
            ),
            "Error from server (NotFound): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: admission webhook \"others.x\" denied the request: no such team",
        ),
        (
            status(
                400,
                "",
                "admission webhook \"sessions.x\" denied the request without explanation",
                &json!({}),
            ),
            "Error from server: session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: admission webhook \"sessions.x\" denied the request without explanation",
        ),
        (
            status(
                422,
                "Invalid",
                "sessions.operator.metalbear.co \"487f4f2b6d2376ad\" is forbidden: ValidatingAdmissionPolicy 'guard' with binding 'guard' denied request: no",
                &json!({ "name": ID }),
            ),
            "Error from server (Invalid): sessions.operator.metalbear.co \"487F4F2B6D2376AD\" is forbidden: ValidatingAdmissionPolicy 'guard' with binding 'guard' denied request: no",
        ),
        (
            status(
                403,
                "Forbidden",
                "admission webhook \"w\" denied the request: x is forbidden: User \"a\" may not",
                &json!({}),
            ),
            "Error from server (Forbidden): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: admission webhook \"w\" denied the request: x is forbidden: User \"a\" may not",
        ),
        (
            status(
                500,
                "InternalError",
                "Internal error occurred: failed calling webhook \"w\"",
                &json!({}),
            ),
            "Error from server (InternalError): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: the webhook \"w\" cannot be reached: try again later, or ask an administrator to check this webhook of the cluster",
        ),
        (
            status(429, "TooManyRequests", "busy", &json!({})),
            "Error from server (TooManyRequests): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: busy: try again later",
        ),
    ];
    for (failure, expected) in cases {
        let api_error = api_error(Verb::Delete, Some(ID), Some("shop"), failure);
        assert!(!api_error.is_rbac(), "{expected}");
        assert_eq!(api_error.to_string(), expected);
    }
}

#[test]
fn distinguishes_missing_namespaces_from_sessions() {
    let missing = status(
        404,
        "NotFound",
        "namespaces \"nope\" not found",
        &json!({ "name": "nope", "kind": "namespaces" }),
    );
    assert_eq!(
        api_error(Verb::Create, None, Some("nope"), missing).to_string(),
        "Error from server (NotFound): namespaces \"nope\" not found: name an existing one with -n"
    );
}

#[test]
fn distinguishes_not_found_from_not_installed() {
    let message = "sessions.operator.metalbear.co \"487f4f2b6d2376ad\" not found";
    let missing = status(404, "NotFound", message, &json!({ "name": ID, "kind": "sessions" }));
    let missing = api_error(Verb::Delete, Some(ID), Some("shop"), missing);
    assert!(missing.is_not_found() && !missing.is_fatal());
    let text = missing.to_string();
    assert!(text.starts_with("Error from server (NotFound): sessions.operator.metalbear.co \"487F4F2B6D2376AD\" not found in namespace \"shop\": "), "{text}");
    assert!(text.contains("-A"), "{text}");

    for failure in [
        Status::read(404, b"404 page not found\n"),
        status(404, "NotFound", "the server could not find the requested resource", &json!({})),
    ] {
        let api_error = api_error(Verb::List, None, None, failure);
        assert!(api_error.is_not_installed() && api_error.is_fatal() && !api_error.is_not_found());
        assert!(api_error.to_string().contains("mirrord-sessions is not installed"), "{api_error}");
    }
}

#[test]
fn handles_responses_of_other_servers() {
    let https = b"Client sent an HTTP request to an HTTPS server.\n";
    let text = text_of(Verb::List, Status::read(400, https));
    assert!(text.ends_with("should begin with https://"), "{text}");
    for (code, body) in [
        (404, &b"<html>nginx</html>"[..]),
        (502, b"<html>\xff bad gateway</html>"),
        (403, b"{\"message\": \"no\"}"),
        (400, b"[1]"),
        (500, b""),
    ] {
        let text = text_of(Verb::List, Status::read(code, body));
        assert!(text.contains("not as a Kubernetes API server does"), "{text}");
        assert!(text.contains(&code.to_string()), "{text}");
    }
}

#[test]
fn quotes_words_for_shells() {
    for (text, expected) in [
        ("dev@x", "dev@x"),
        ("a b", "'a b'"),
        ("$(rm)", "'$(rm)'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
    ] {
        assert_eq!(shell(text), expected);
    }
}

#[test]
fn advises_no_role_while_trackers_are_unavailable() {
    let denial = |resource: &str, group: &str| {
        let message = format!(
            "{resource}.{group} is forbidden: User \"dev\" cannot list resource \"{resource}\" in API group \"{group}\" in the namespace \"shop\""
        );
        let failure = status(403, "Forbidden", &message, &json!({}));
        let api_error = api_error(Verb::List, None, Some("shop"), failure);
        ApiError { trackers_unavailable: Some("service unavailable".into()), ..api_error }
    };
    let error = denial("sessions", "operator.metalbear.co");
    // Commands that work without reading continue as for any denial.
    assert!(error.is_rbac());
    assert_eq!(
        error.to_string(),
        "Error from server (ServiceUnavailable): sessiontrackers.visibility.operator.metalbear.co is not available now (service unavailable), and you may not read sessions.operator.metalbear.co in its place: try again later, or ask an administrator to check the webhook of mirrord-sessions (kubectl -n mirrord-sessions get pods)"
    );
    // A role does help with other resources.
    assert!(denial("events", "").to_string().contains("ask an administrator for a role"));
}

#[test]
fn explains_unavailable_servers() {
    let text = text_of(Verb::List, Status::read(503, b"service unavailable\n"));
    assert_eq!(
        text,
        "Error from server (ServiceUnavailable): the API of the sessions is not available now (service unavailable): try again later, or ask an administrator to check the service behind it"
    );
    let message = "Internal error occurred: failed calling webhook \"stop.sessions.operator.metalbear.co\": failed to call webhook: Post \"https://a.b.svc:443/admission/v1/sessions/delete?timeout=5s\": context deadline exceeded";
    let failure = api_error(
        Verb::Delete,
        Some(ID),
        Some("shop"),
        status(500, "InternalError", message, &json!({})),
    );
    assert!(failure.is_webhook_failure() && failure.is_fatal());
    assert_eq!(
        failure.to_string(),
        "Error from server (InternalError): session.operator.metalbear.co \"487F4F2B6D2376AD\" not deleted: the webhook \"stop.sessions.operator.metalbear.co\" did not answer in time: try again later, or ask an administrator to check the webhook of mirrord-sessions (kubectl -n mirrord-sessions get pods)"
    );
}
