//! Classification of failed requests about sessions, shared by all commands.
//!
//! A resource that the cluster does not serve, one that cannot be reached now, and one that the
//! requester may not read need different remedies.

use super::{ApiError, Error, api_error::WebhookFailure};

/// The kind of a failed request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// The cluster does not serve the resource.
    NotServed,
    /// The cluster serves the resource, and cannot reach it now for this reason.
    Unavailable(String),
    /// The API server forbids the request.
    Forbidden,
    /// Any other failure.
    Other,
}

impl FailureKind {
    /// Classifies an error.
    #[must_use]
    pub fn from_error(error: &Error) -> Self {
        match error {
            Error::Api(api_error) => Self::from_api_error(api_error),
            Error::Timeout { after, .. } => {
                Self::Unavailable(format!("there was no answer within {after:?}"))
            }
            _ => Self::Other,
        }
    }

    fn from_api_error(error: &ApiError) -> Self {
        let status = &error.status;
        if error.is_not_installed() {
            return Self::NotServed;
        }
        if let Some(reason) = &error.trackers_unavailable
            && error.is_rbac()
        {
            return Self::Unavailable(reason.clone());
        }
        if let Some(failure) = WebhookFailure::read(status).filter(WebhookFailure::is_ours) {
            return Self::Unavailable(failure.to_string());
        }
        match status.code {
            // The aggregator responds with plain text, and a replica that is not ready with a
            // Status.
            503 | 504 => Self::Unavailable(status.message.trim().to_owned()),
            403 if status.is_status && !error.is_of_admission() => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::error::{RequestInfo, Status, Verb};

    fn api_error(code: u16, body: &str, trackers_unavailable: Option<&str>) -> Error {
        Error::Api(Box::new(ApiError {
            host: "h".into(),
            credentials: "c".into(),
            request: RequestInfo { verb: Verb::List, namespace: None, id: None },
            status: Status::read(code, body.as_bytes()),
            trackers_unavailable: trackers_unavailable.map(ToOwned::to_owned),
        }))
    }

    fn status(message: &str) -> String {
        json!({ "kind": "Status", "message": message }).to_string()
    }

    #[test]
    fn unavailable_not_served_and_forbidden_are_three_kinds() {
        let unavailable = |reason: &str| FailureKind::Unavailable(reason.to_owned());
        let denial = status(
            "sessions.operator.metalbear.co is forbidden: User \"dev\" cannot list resource \"sessions\" in API group \"operator.metalbear.co\" in the namespace \"shop\"",
        );
        let webhook = |name: &str, cause: &str| {
            status(&format!(
                "Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: Post \"https://x/y?timeout=5s\": {cause}"
            ))
        };
        let stamp = "stamp.sessions.operator.metalbear.co";
        for (name, code, body, expected) in [
            ("no such group", 404, "404 page not found\n".to_owned(), FailureKind::NotServed),
            (
                "no such resource",
                404,
                status("the server could not find it"),
                FailureKind::NotServed,
            ),
            (
                "aggregator",
                503,
                "service unavailable\n".to_owned(),
                unavailable("service unavailable"),
            ),
            (
                "backend",
                503,
                "error trying to reach service: dial tcp: refused".to_owned(),
                unavailable("error trying to reach service: dial tcp: refused"),
            ),
            ("not ready", 503, status("not synced"), unavailable("not synced")),
            ("slow", 504, status("request timed out"), unavailable("request timed out")),
            (
                "hanging webhook",
                500,
                webhook(stamp, "context deadline exceeded"),
                unavailable(&format!("the webhook \"{stamp}\" did not answer in time")),
            ),
            (
                "dead webhook",
                500,
                webhook(stamp, "dial tcp 10.0.0.1:443: connect: connection refused"),
                unavailable(&format!(
                    "the webhook \"{stamp}\" cannot be reached (dial tcp 10.0.0.1:443: connect: connection refused)"
                )),
            ),
            ("another webhook", 500, webhook("quota.example.com", "EOF"), FailureKind::Other),
            ("RBAC", 403, denial.clone(), FailureKind::Forbidden),
            (
                "discovery",
                403,
                status("forbidden: User \"dev\" cannot get path"),
                FailureKind::Forbidden,
            ),
            (
                "policy",
                403,
                status("admission webhook \"w\" denied the request"),
                FailureKind::Other,
            ),
            ("a proxy", 403, "<html>".to_owned(), FailureKind::Other),
            (
                "missing session",
                404,
                json!({"kind": "Status", "details": {"name": "a"}}).to_string(),
                FailureKind::Other,
            ),
            ("busy", 429, status("busy"), FailureKind::Other),
            ("broken", 500, status("broken"), FailureKind::Other),
        ] {
            let error = api_error(code, &body, None);
            assert_eq!(FailureKind::from_error(&error), expected, "{name}");
        }
        // A role does not help while trackers are unavailable.
        let error = api_error(403, &denial, Some("service unavailable"));
        assert_eq!(FailureKind::from_error(&error), unavailable("service unavailable"));
        let timeout = Error::Timeout { host: "h".into(), after: Duration::from_secs(3) };
        assert_eq!(FailureKind::from_error(&timeout), unavailable("there was no answer within 3s"));
        assert_eq!(FailureKind::from_error(&Error::setup("x")), FailureKind::Other);
    }
}
