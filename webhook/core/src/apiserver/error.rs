//! What goes wrong, as a Kubernetes Status with the texts that clients of the API server know.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKERS};
use serde_json::{Value, json};

use super::subresource::Subresource;
use crate::sessions::tracker::Tracker;
use crate::text::printable;

/// How much of what a client sent is shown to it again.
const SHOWN: usize = 1024;

/// A request that gets no result.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// HTTP status code.
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    metadata: Value,
    /// After how many seconds another try makes sense.
    pub retry_after: Option<u32>,
    /// Whether POST is served there, and not GET.
    created: bool,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            code,
            reason,
            message: printable(message.as_ref(), SHOWN),
            details: None,
            metadata: json!({}),
            retry_after: None,
            created: false,
        }
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody vouches for who asks.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: who asks may see nothing of this.
    #[must_use]
    pub fn forbidden(username: &str, verb: &str, why: &str) -> Self {
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS })),
            ..Self::new(
                403,
                "Forbidden",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} is forbidden: User {username:?} cannot {verb} resource \"{TRACKERS}\" in API group {TRACKER_GROUP:?}: {why}"
                ),
            )
        }
    }

    /// 403: who asks may not do that with this tracker, which they see.
    #[must_use]
    pub fn forbidden_here(username: &str, subresource: Subresource, name: &str, why: &str) -> Self {
        let resource = format!("{TRACKERS}/{}", subresource.name());
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": name })),
            ..Self::new(
                403,
                "Forbidden",
                format!(
                    "{TRACKERS}.{TRACKER_GROUP} {name:?} is forbidden: User {username:?} cannot create resource {resource:?} in API group {TRACKER_GROUP:?}: {why}"
                ),
            )
        }
    }

    /// 409: others change it all the time.
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

    /// 410: the session has ended.
    #[must_use]
    pub fn over(tracker: &Tracker) -> Self {
        let (name, status) = (&*tracker.key.name, &tracker.status);
        let mut message = format!("{TRACKERS}.{TRACKER_GROUP} {name:?} has ended");
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

    /// 413: too much was sent.
    #[must_use]
    pub fn too_much(message: &str) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415: what was sent isn't JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json",
        )
    }

    /// 422: what was sent breaks a rule.
    #[must_use]
    pub fn invalid(kind: &str, field: &str, why: &str) -> Self {
        Self {
            details: Some(json!({
                "group": TRACKER_GROUP,
                "kind": kind,
                "causes": [{ "reason": "FieldValueInvalid", "field": field, "message": why }],
            })),
            ..Self::new(
                422,
                "Invalid",
                format!("{kind}.{TRACKER_GROUP} is invalid: {field}: {why}"),
            )
        }
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 404: no tracker of that name, or none that the requester sees.
    #[must_use]
    pub fn no_such_tracker(name: &str) -> Self {
        let shown = printable(name, 253);
        Self {
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS, "name": shown })),
            ..Self::new(
                404,
                "NotFound",
                format!("{TRACKERS}.{TRACKER_GROUP} \"{shown}\" not found"),
            )
        }
    }

    /// 404: nothing is served there.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405: trackers are read-only, and subresources are created.
    #[must_use]
    pub fn method_not_allowed(created: bool) -> Self {
        Self {
            created,
            details: Some(json!({ "group": TRACKER_GROUP, "kind": TRACKERS })),
            ..Self::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    /// 406: nobody serves what the client would accept.
    #[must_use]
    pub fn not_acceptable(served: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", served.join(", ")),
        )
    }

    /// 406, of a transformation that doesn't fit what is asked for.
    #[must_use]
    pub fn wrong_shape(message: &str) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// 410: what was asked for is no longer known.
    #[must_use]
    pub fn expired(message: impl AsRef<str>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 of a list that went on for too long, with the token that goes on anyway.
    #[must_use]
    pub fn continue_expired(token: &str) -> Self {
        Self {
            metadata: json!({ "continue": token }),
            ..Self::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            )
        }
    }

    /// 410 of a watch.
    #[must_use]
    pub fn watch_expired(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 410 of a watch, of one who sees otherwise by now.
    #[must_use]
    pub fn seen_otherwise(asked: u64) -> Self {
        Self::expired(format!(
            "too old resource version: {asked} (what you may see has changed since)"
        ))
    }

    /// 422: a parameter that contradicts another.
    #[must_use]
    pub fn invalid_options(causes: &[(&str, &str, String)]) -> Self {
        let texts: Vec<String> =
            causes.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = causes
            .iter()
            .map(|(field, reason, message)| json!({ "field": field, "reason": reason, "message": printable(message, SHOWN) }))
            .collect();
        Self {
            details: Some(
                json!({ "group": "meta.k8s.io", "kind": "ListOptions", "causes": causes }),
            ),
            ..Self::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {text}"))
        }
    }

    /// 504: a resource version that this replica hasn't seen yet.
    #[must_use]
    pub fn too_large(asked: u64, current: u64) -> Self {
        Self {
            details: Some(json!({
                "retryAfterSeconds": 1,
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            })),
            retry_after: Some(1),
            ..Self::new(
                504,
                "Timeout",
                format!("Timeout: Too large resource version: {asked}, current: {current}"),
            )
        }
    }

    /// 503: the index isn't filled yet, or what decides isn't known.
    #[must_use]
    pub fn not_ready(what: &str) -> Self {
        Self {
            details: Some(json!({ "retryAfterSeconds": 1 })),
            retry_after: Some(1),
            ..Self::new(503, "ServiceUnavailable", what)
        }
    }

    /// 429: others ask for so much at the same time.
    #[must_use]
    pub fn too_much_at_once() -> Self {
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

    /// The method that is served there, where another was tried.
    #[must_use]
    pub fn allow(&self) -> Option<&'static str> {
        let allow = if self.created { "POST" } else { "GET" };
        (self.code == 405).then_some(allow)
    }

    /// The Status.
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
