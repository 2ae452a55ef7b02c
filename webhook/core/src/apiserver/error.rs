//! Errors of the aggregated API as Kubernetes Status objects, with the API server's own texts.

use mirrord_sessions_crds::{SessionState, TRACKER_GROUP, TRACKERS};
use serde_json::{Value, json};

use super::subresource::Subresource;
use crate::{
    sessions::{HistoryExpired, Tracker, VersionNotReached},
    text::printable,
};

/// The maximum length of a message, since it may quote what the client sent.
const MAX_MESSAGE: usize = 1024;

/// The only method that a resource serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AllowedMethod {
    /// The methods of trackers: `GET` alone.
    Get,
    /// The methods of subresources: `POST` alone.
    Post,
}

/// An error response of the aggregated API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    metadata: Value,
    /// Seconds after which the client should retry.
    pub retry_after: Option<u32>,
    /// The method to report in `Allow`.
    allow: Option<AllowedMethod>,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            code,
            reason,
            message: printable(message.as_ref(), MAX_MESSAGE),
            details: None,
            metadata: json!({}),
            retry_after: None,
            allow: None,
        }
    }

    /// Returns 400 for an invalid request.
    #[must_use]
    pub fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Returns 401 for a request that the front proxy did not authenticate.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// Returns 403 for a requester who may not see any tracker in the scope of the request.
    #[must_use]
    pub fn forbidden(username: &str, verb: &str, reason: &str) -> Self {
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS })),
            ..Self::new(
                403,
                "Forbidden",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} is forbidden: User {username:?} cannot {verb} resource \"{TRACKERS}\" in API group {TRACKER_GROUP:?}: {reason}"
                ),
            )
        }
    }

    /// Returns 403 for a subresource of a tracker that the requester can see.
    #[must_use]
    pub fn subresource_forbidden(
        username: &str,
        subresource: Subresource,
        name: &str,
        reason: &str,
    ) -> Self {
        let resource = format!("{TRACKERS}/{}", subresource.name());
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": name })),
            ..Self::new(
                403,
                "Forbidden",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} {name:?} is forbidden: User {username:?} cannot create resource {resource:?} in API group {TRACKER_GROUP:?}: {reason}"
                ),
            )
        }
    }

    /// Returns 409 for a tracker that concurrent writes kept changing.
    #[must_use]
    pub fn contended(name: &str) -> Self {
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": name })),
            ..Self::new(
                409,
                "Conflict",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} {name:?} is being changed by others: try again"
                ),
            )
        }
    }

    /// Returns 410 for a session that has ended.
    #[must_use]
    pub fn session_ended(tracker: &Tracker) -> Self {
        let (name, status) = (&*tracker.key.name, &tracker.status);
        let state = if status.state == SessionState::Terminating {
            "is being deleted"
        } else {
            "has ended"
        };
        let mut message = format!("{TRACKERS}.{TRACKER_GROUP} {name:?} {state}");
        if let Some(reason) = &status.reason {
            message.push_str(": ");
            message.push_str(reason);
        }
        if let Some(by) = &status.stopped_by {
            message.push_str(" by ");
            message.push_str(by);
        }
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": name })),
            ..Self::new(410, "Gone", message)
        }
    }

    /// Returns 413 for a body beyond the size limit.
    #[must_use]
    pub fn body_too_large(message: &str) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// Returns 415 for a body that is not JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json",
        )
    }

    /// Returns 422 for a body with an invalid field.
    #[must_use]
    pub fn invalid(kind: &str, field: &str, reason: &str) -> Self {
        Self {
            details: Some(json!({
                "group": TRACKER_GROUP,
                "kind": kind,
                "causes": [{ "reason": "FieldValueInvalid", "field": field, "message": reason }],
            })),
            ..Self::new(
                422,
                "Invalid",
                format!("{kind}.{TRACKER_GROUP} is invalid: {field}: {reason}"),
            )
        }
    }

    /// Returns 500 for a failure of this server.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// Returns 404 for a tracker that does not exist or that the requester may not see.
    #[must_use]
    pub fn tracker_not_found(name: &str) -> Self {
        let printable_name = printable(name, 253);
        Self {
            details: Some(
                json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": printable_name }),
            ),
            ..Self::new(
                404,
                "NotFound",
                format!("{TRACKERS}.{TRACKER_GROUP} \"{printable_name}\" not found"),
            )
        }
    }

    /// Returns 404 for a path without a resource.
    #[must_use]
    pub fn path_not_found() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// Returns 405 for a resource that serves only the method `allow`.
    #[must_use]
    pub fn method_not_allowed(allow: AllowedMethod) -> Self {
        Self {
            allow: Some(allow),
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS })),
            ..Self::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    /// Returns 406 for an `Accept` header that names no served media type.
    #[must_use]
    pub fn not_acceptable(served: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", served.join(", ")),
        )
    }

    /// Returns 406 for a representation that does not fit the requested object.
    #[must_use]
    pub fn wrong_representation(message: &str) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// Returns 410 for an expired resource version.
    #[must_use]
    pub fn expired(message: impl AsRef<str>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Returns 410 for an expired continue token, with a token for an inconsistent continuation.
    #[must_use]
    pub fn continue_expired(token: &str) -> Self {
        Self {
            metadata: json!({ "continue": token }),
            ..Self::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            )
        }
    }

    /// Returns 410 for a watch that starts at an expired version, or has fallen behind.
    #[must_use]
    pub fn watch_expired(requested: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// Returns 410 for a watch whose requester sees other trackers than at the start version.
    #[must_use]
    pub fn visibility_changed(requested: u64) -> Self {
        Self::expired(format!(
            "too old resource version: {requested} (what you may see has changed since)"
        ))
    }

    /// Returns 422 for contradicting query parameters.
    #[must_use]
    pub fn invalid_options(causes: &[(&str, &str, String)]) -> Self {
        let texts: Vec<String> =
            causes.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
        let text = match texts.as_slice() {
            [text] => text.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = causes
            .iter()
            .map(|(field, reason, message)| json!({ "field": field, "reason": reason, "message": printable(message, MAX_MESSAGE) }))
            .collect();
        Self {
            details: Some(
                json!({ "group": "meta.k8s.io", "kind": "ListOptions", "causes": causes }),
            ),
            ..Self::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {text}"))
        }
    }

    /// Returns 504 for a resource version that this replica has not reached yet.
    #[must_use]
    pub fn too_large(requested: u64, current: u64) -> Self {
        Self {
            details: Some(json!({
                "retryAfterSeconds": 1,
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            })),
            retry_after: Some(1),
            ..Self::new(
                504,
                "Timeout",
                format!("Timeout: Too large resource version: {requested}, current: {current}"),
            )
        }
    }

    /// Returns 503 while a prerequisite is missing.
    #[must_use]
    pub fn not_ready(message: &str) -> Self {
        Self {
            details: Some(json!({ "retryAfterSeconds": 1 })),
            retry_after: Some(1),
            ..Self::new(503, "ServiceUnavailable", message)
        }
    }

    /// Returns 429 for a session that is reported too often.
    #[must_use]
    pub fn too_many_reports(name: &str) -> Self {
        Self {
            details: Some(json!({
                "group": TRACKER_GROUP, "kind": TRACKERS, "name": name, "retryAfterSeconds": 1,
            })),
            retry_after: Some(1),
            ..Self::new(
                429,
                "TooManyRequests",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} {name:?} is reported too often: at most one change per second is stored"
                ),
            )
        }
    }

    /// Returns 429 while concurrent lists use up the memory budget.
    #[must_use]
    pub fn list_budget_exceeded() -> Self {
        Self {
            details: Some(json!({ "retryAfterSeconds": 1 })),
            retry_after: Some(1),
            ..Self::new(
                429,
                "TooManyRequests",
                "too many long lists are being answered: try again, or ask for pages (limit)",
            )
        }
    }

    /// Returns the value of the `Allow` header of a 405.
    #[must_use]
    pub fn allow(&self) -> Option<&'static str> {
        self.allow.map(|method| match method {
            AllowedMethod::Get => "GET",
            AllowedMethod::Post => "POST",
        })
    }

    /// Returns the error as a Status object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl From<HistoryExpired> for ApiError {
    fn from(HistoryExpired { requested, oldest }: HistoryExpired) -> Self {
        Self::watch_expired(requested, oldest)
    }
}

impl From<VersionNotReached> for ApiError {
    fn from(VersionNotReached { requested, current }: VersionNotReached) -> Self {
        Self::too_large(requested, current)
    }
}
