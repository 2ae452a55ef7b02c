//! Responses of the server itself: plain text, bytes of a given type, and Kubernetes Statuses.

use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use mirrord_sessions_core::text::printable;
use serde_json::json;

use super::body::{Outgoing, full};

/// A response with a complete or streamed body.
pub(crate) type Response = http::Response<Outgoing>;

/// Returns a response of a content type.
pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = http::Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns a response of plain text.
pub(crate) fn text(status: StatusCode, text: &str) -> Response {
    bytes(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

/// Returns a Kubernetes Status, which the API server passes on to the requester.
pub(crate) fn status(status: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": status.as_u16(),
        "reason": reason,
        "message": message,
    });
    bytes(status, "application/json", Bytes::from(body.to_string()))
}

/// Returns the Status for a method that a path does not serve.
pub(crate) fn method_not_allowed(method: &Method, allowed: &'static str) -> Response {
    let mut response = status(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        &format!("{} is not served here, only {allowed}", printable(method.as_str(), 32)),
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Returns the Status for an error of this process; the log has the details.
pub(crate) fn internal_error() -> Response {
    status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "see the webhook's log")
}
