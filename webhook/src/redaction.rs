//! Texts of errors for logs, without the content of objects.
//!
//! Error messages of the API server and of parsers quote the values that they reject. These may be
//! session keys, environment variables with secrets, or control characters.

use kube::core::Status;
use mirrord_sessions_core::text::printable;

/// The maximum length of a reason in characters.
const MAX_REASON: usize = 64;

/// Returns the kind of an error of the client, without the message of the API server.
pub(crate) fn summary(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(error) => status(error),
        kube::Error::SerdeError(_) => "the response could not be parsed".to_owned(),
        // Transport errors name addresses and certificates, never objects.
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
            printable(&chain(error), 300)
        }
        _ => "the request failed in the client".to_owned(),
    }
}

/// Returns code and reason of a response of the API server.
///
/// The message is included if RBAC denied the request: it names the missing right, and no value of
/// an object.
pub(crate) fn status(status: &Status) -> String {
    if status.code == 403 && is_rbac_denial(&status.message) {
        return printable(&status.message, 300);
    }
    let reason = printable(&status.reason, MAX_REASON);
    let reason = if reason.is_empty() { "no reason given" } else { &reason };
    format!("the API server answered {} ({reason})", status.code)
}

/// Returns whether the message is that of the RBAC authorizer, for example `pods is forbidden: User
/// "u" cannot list resource "pods"`. Admission plugins and webhooks write other messages.
fn is_rbac_denial(message: &str) -> bool {
    let denial = message.split_once(" is forbidden: User \"").map(|(_, denial)| denial);
    denial.is_some_and(|denial| denial.contains("\" cannot ") && denial.contains(" resource \""))
}

/// Returns an error with its causes, which libraries do not repeat in their texts.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_nothing_of_an_object() {
        let invalid: Result<u8, _> = serde_json::from_str(r#""s3cret""#);
        let invalid = invalid.unwrap_err();
        assert!(invalid.to_string().contains("s3cret"), "the parser quotes the value");
        let refused = Status {
            code: 422,
            reason: "Invalid".into(),
            message: r#"spec.key: Invalid value: "s3cret""#.into(),
            ..Status::default()
        };
        let forbidden = |message: &str| Status {
            code: 403,
            reason: "Forbidden".into(),
            message: message.into(),
            ..Status::default()
        };
        let denial = r#"pods is forbidden: User "u" cannot list resource "pods" in API group """#;
        for (error, expected) in [
            (kube::Error::SerdeError(invalid), "the response could not be parsed"),
            (kube::Error::Api(Box::new(refused)), "the API server answered 422 (Invalid)"),
            (
                kube::Error::Api(Box::new(forbidden(r#"denied the request: key "s3cret""#))),
                "the API server answered 403 (Forbidden)",
            ),
            (kube::Error::Api(Box::new(forbidden(denial))), denial),
            (
                kube::Error::Api(Box::new(Status { code: 500, ..Status::default() })),
                "the API server answered 500 (no reason given)",
            ),
        ] {
            assert_eq!(summary(&error), expected);
        }
    }
}
