//! Error statuses of the server: the request, the response, and its meaning for the user.

use std::fmt;

use mirrord_sessions_crds::{GROUP, SESSIONS, SessionId, TRACKER_GROUP, TRACKERS};
use serde::Deserialize;

use crate::session::kind_name;

/// The role that grants the rights of a user of sessions.
const USER_ROLE: &str = "mirrord-operator-user";

/// The verb of a request, as RBAC names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Reads one session by name.
    Get,
    /// Reads all sessions of a scope.
    List,
    /// Watches all sessions of a scope.
    Watch,
    /// Creates one session or subresource.
    Create,
    /// Deletes one session by name.
    Delete,
    /// Deletes all sessions of a namespace.
    DeleteCollection,
}

impl Verb {
    /// Returns the text about the action that was not done.
    fn failed_action(self) -> &'static str {
        match self {
            Self::Get | Self::List | Self::Watch => "not read",
            Self::Create => "not joined",
            Self::Delete | Self::DeleteCollection => "not deleted",
        }
    }
}

/// The description of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestInfo {
    /// The verb of the request.
    pub verb: Verb,
    /// The namespace of the request; all namespaces if absent.
    pub namespace: Option<String>,
    /// The session of the request, if there is a single one.
    pub id: Option<SessionId>,
}

/// The relevant fields of an error response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: String,
    /// The message of the server.
    pub message: String,
    /// The name of the object in the details.
    pub name: String,
    /// The kind of the object in the details, such as `namespaces`.
    pub kind: String,
    /// Whether the response was a Kubernetes Status, and not another document.
    pub is_status: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    kind: String,
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    name: Option<String>,
    kind: Option<String>,
}

impl Status {
    /// Returns the status for a missing session.
    #[must_use]
    pub fn not_found(id: &SessionId) -> Self {
        Self {
            code: 404,
            reason: "NotFound".to_owned(),
            name: id.name().to_owned(),
            is_status: true,
            ..Self::default()
        }
    }

    /// Parses an error response.
    #[must_use]
    pub fn read(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<WireStatus>(body) {
            Ok(status) if status.kind == "Status" => {
                let details = status.details.unwrap_or_default();
                Self {
                    code,
                    reason: status.reason.unwrap_or_default(),
                    message: status.message.unwrap_or_default(),
                    name: details.name.unwrap_or_default(),
                    kind: details.kind.unwrap_or_default(),
                    is_status: true,
                }
            }
            _ => Self {
                code,
                message: String::from_utf8_lossy(body).chars().take(200).collect(),
                ..Self::default()
            },
        }
    }
}

/// A request that the server answered with an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// The address of the server.
    pub host: String,
    /// The credentials of the request, such as `user "dev"`.
    pub credentials: String,
    /// The description of the request.
    pub request: RequestInfo,
    /// The response of the server.
    pub status: Status,
    /// The reason why trackers are unavailable, if Sessions are read in their place.
    pub trackers_unavailable: Option<String>,
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// Returns whether the session is missing on a server that serves the resource.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status.code == 404 && !self.status.name.is_empty()
    }

    /// Returns whether an object of that name exists already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.status.code == 409 && self.status.reason == "AlreadyExists"
    }

    /// Returns whether the server serves no Sessions.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        // Where no API is served, Go's router responds with text; a proxy or a web server, with
        // HTML.
        let Status { code, name, message, is_status, .. } = &self.status;
        // A webhook may deny a request about an existing object with 404.
        *code == 404
            && name.is_empty()
            && !is_of_admission(message)
            && (*is_status || message.trim() == "404 page not found")
    }

    /// Returns whether RBAC denied the request. Denials by webhooks and policies don't count.
    #[must_use]
    pub fn is_rbac(&self) -> bool {
        Denial::read(&self.status).is_some()
    }

    /// Returns whether the server could not authenticate the requester.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        let is_anonymous = |denial: Denial<'_>| denial.user == "system:anonymous";
        self.status.code == 401 || Denial::read(&self.status).is_some_and(is_anonymous)
    }

    /// Returns whether the message is that of a webhook that denied the request.
    pub(super) fn is_of_admission(&self) -> bool {
        is_of_admission(&self.status.message)
    }

    /// Returns whether the API server did not execute the request, because a webhook failed.
    #[must_use]
    pub fn is_webhook_failure(&self) -> bool {
        WebhookFailure::read(&self.status).is_some()
    }

    /// Returns whether every further request would fail in the same way.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.status.code, 401 | 429 | 503 | 504)
            || self.is_webhook_failure()
            || !self.status.is_status
            || self.is_not_installed()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { code, reason, message, is_status, .. } = &self.status;
        // Never suggest granting rights to a requester who is not logged in.
        if self.is_unauthenticated() {
            return write!(
                f,
                "error: You must be logged in to the server (Unauthorized): the credentials of {} are missing, wrong or expired: log in again, or choose others with --context or --user",
                self.credentials
            );
        }
        if self.is_not_installed() {
            return write!(
                f,
                "error: the server doesn't have a resource type \"sessions\" in group \"{GROUP}\": mirrord-sessions is not installed on this cluster (is it the right --context?); an administrator installs it as its README says"
            );
        }
        if *code == 503 && is_of_aggregator(&self.status) {
            return write!(
                f,
                "Error from server (ServiceUnavailable): the API of the sessions is not available now ({}): try again later, or ask an administrator to check the service behind it",
                message.trim()
            );
        }
        if !is_status {
            return self.not_kubernetes(f);
        }
        if self.is_not_found() {
            return self.not_found(f);
        }
        if let Some(denial) = Denial::read(&self.status) {
            return match &self.trackers_unavailable {
                Some(reason) if denial.is_about_sessions() => write!(
                    f,
                    "Error from server (ServiceUnavailable): {TRACKERS}.{TRACKER_GROUP} is not available now ({reason}), and you may not read {SESSIONS} in its place: {CHECK_WEBHOOK}"
                ),
                _ => denial.explain(f, &self.request),
            };
        }
        if reason.is_empty() {
            write!(f, "Error from server: ")?;
        } else {
            write!(f, "Error from server ({reason}): ")?;
        }
        if let Some(failure) = WebhookFailure::read(&self.status) {
            if let Some(id) = &self.request.id {
                let failed_action = self.request.verb.failed_action();
                write!(f, "{} \"{id}\" {failed_action}: ", kind_name())?;
            }
            let remedy = if failure.is_ours() { CHECK_WEBHOOK } else { CHECK_OTHER_WEBHOOK };
            return write!(f, "{failure}: {remedy}");
        }
        let quoted = |id: &SessionId| format!("\"{}\"", id.name());
        match &self.request.id {
            // The message quotes the ID as the user typed it.
            Some(id) if message.contains(&quoted(id)) => {
                write!(f, "{}", message.replace(&quoted(id), &format!("\"{id}\"")))?;
            }
            Some(id) => {
                let failed_action = self.request.verb.failed_action();
                write!(f, "{} \"{id}\" {failed_action}: {message}", kind_name())?;
            }
            None => write!(f, "{message}")?,
        }
        if matches!(code, 429 | 503 | 504) {
            write!(f, ": try again later")?;
        }
        Ok(())
    }
}

impl ApiError {
    fn not_kubernetes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, code) = (&self.host, self.status.code);
        write!(f, "error: {host} answered with HTTP status {code}")?;
        if self.status.message.contains("HTTP request to an HTTPS server") {
            return write!(
                f,
                ", because it speaks TLS: the server in the kubeconfig should begin with https://"
            );
        }
        write!(f, ", and not as a Kubernetes API server does: check the server in the kubeconfig")?;
        if (500..600).contains(&code) {
            write!(f, ", or try again later")?;
        }
        Ok(())
    }

    fn not_found(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestInfo { namespace, id, .. } = &self.request;
        // The namespace of the new session does not exist.
        if self.status.kind == "namespaces" {
            return write!(
                f,
                "Error from server (NotFound): namespaces {:?} not found: name an existing one with -n",
                self.status.name
            );
        }
        let shown = id.clone().unwrap_or_else(|| SessionId::from_name(&self.status.name));
        write!(f, "Error from server (NotFound): {SESSIONS} \"{shown}\" not found")?;
        match namespace {
            Some(namespace) => write!(
                f,
                " in namespace \"{namespace}\": \"kubectl mirrord-sessions list -A\" shows the sessions of all namespaces; name the right one with -n, or use -A"
            ),
            None => write!(
                f,
                " in any namespace: \"kubectl mirrord-sessions list -A\" shows those there are"
            ),
        }
    }
}

/// The remedies of a webhook that does not answer.
const CHECK_WEBHOOK: &str = "try again later, or ask an administrator to check the webhook of mirrord-sessions (kubectl -n mirrord-sessions get pods)";
const CHECK_OTHER_WEBHOOK: &str =
    "try again later, or ask an administrator to check this webhook of the cluster";

/// A failure of the API server to call a webhook, parsed from its message.
///
/// The API server executes no request whose webhook fails, unless its policy is to ignore failures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct WebhookFailure<'a> {
    name: &'a str,
    cause: &'a str,
}

impl<'a> WebhookFailure<'a> {
    /// Parses `failed calling webhook "NAME": failed to call webhook: Post "URL": CAUSE`.
    pub(super) fn read(status: &'a Status) -> Option<Self> {
        if status.code < 500 {
            return None;
        }
        let (_, rest) = status.message.split_once("failed calling webhook \"")?;
        let (name, cause) = rest.split_once('"')?;
        let cause = cause.strip_prefix(": ").unwrap_or_default();
        let cause = cause.strip_prefix("failed to call webhook: ").unwrap_or(cause);
        let without_url =
            cause.strip_prefix("Post \"").and_then(|rest| Some(rest.split_once("\": ")?.1));
        Some(Self { name, cause: without_url.unwrap_or(cause) })
    }

    /// Returns whether the webhook belongs to mirrord-sessions.
    pub(super) fn is_ours(&self) -> bool {
        self.name.strip_suffix(GROUP).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for WebhookFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cause } = self;
        match *cause {
            "" => write!(f, "the webhook \"{name}\" cannot be reached"),
            cause if cause.contains("deadline exceeded") || cause.contains("timeout") => {
                write!(f, "the webhook \"{name}\" did not answer in time")
            }
            cause => write!(f, "the webhook \"{name}\" cannot be reached ({cause})"),
        }
    }
}

/// Returns whether the aggregator responded that it cannot reach an API behind it.
fn is_of_aggregator(status: &Status) -> bool {
    let message = status.message.trim().to_ascii_lowercase();
    !status.is_status
        && (message == "service unavailable"
            || message.starts_with("error trying to reach service"))
}

/// A denial by RBAC, parsed from the authorizer's message.
#[derive(Debug, Eq, PartialEq)]
struct Denial<'a> {
    user: String,
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
    namespace: Option<&'a str>,
    /// The addition of the authorizer, for example about a missing role.
    more: &'a str,
}

impl<'a> Denial<'a> {
    /// Parses `X is forbidden: User "U" cannot VERB resource "R" in API group "G" in the namespace
    /// "N"`. Returns nothing for other messages.
    fn read(status: &'a Status) -> Option<Self> {
        if status.code != 403 {
            return None;
        }
        let (subject, rest) = status.message.split_once(" is forbidden: User \"")?;
        // A webhook may use any words, including these.
        if is_of_admission(subject) {
            return None;
        }
        // A user name may contain anything, so search for its end from behind.
        let (user, rest) = rest.rsplit_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let (namespace, more) = if let Some(rest) = rest.strip_prefix(" in the namespace \"") {
            let (namespace, more) = rest.split_once('"')?;
            (Some(namespace), more)
        } else {
            (None, rest.strip_prefix(" at the cluster scope")?)
        };
        let user = user.replace("\\\"", "\"").replace("\\\\", "\\");
        Some(Self { user, verb, resource, group, namespace, more })
    }

    /// Returns whether the denial is about Sessions themselves.
    fn is_about_sessions(&self) -> bool {
        self.group == GROUP && self.resource == "sessions"
    }

    fn explain(&self, f: &mut fmt::Formatter<'_>, request: &RequestInfo) -> fmt::Result {
        let Self { user, verb, resource, group, namespace, more } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(
            f,
            "Error from server (Forbidden): User {user:?} cannot {verb} {resource}{dot}{group}"
        )?;
        // The resources of trackers and of their subresources count too.
        let is_ours =
            self.is_about_sessions() || (*group == TRACKER_GROUP && resource.starts_with(TRACKERS));
        if let (Some(id), true) = (&request.id, is_ours) {
            write!(f, " \"{id}\"")?;
        }
        match namespace {
            Some(namespace) => write!(f, " in namespace \"{namespace}\"{more}")?,
            None if is_ours => write!(f, " in all namespaces{more}")?,
            None => write!(f, " at the cluster scope{more}")?,
        }
        // The verb is "impersonate", and since Kubernetes 1.36 also "impersonate-on:user-info:list"
        // and similar.
        if verb.starts_with("impersonate") {
            return write!(
                f,
                ": leave out --as, --as-group and --as-uid, or ask an administrator for a role that allows it"
            );
        }
        if !is_ours {
            return write!(f, ": ask an administrator for a role that allows it");
        }
        write!(f, ": ask an administrator for it: kubectl create ")?;
        let name = format!("{USER_ROLE}:{}", user.replace(['/', '%'], "-"));
        let binding = if namespace.is_some() { "rolebinding" } else { "clusterrolebinding" };
        write!(f, "{binding} {} --clusterrole={USER_ROLE} ", shell(&name))?;
        match user.strip_prefix("system:serviceaccount:") {
            Some(account) => write!(f, "--serviceaccount={}", shell(account))?,
            None => write!(f, "--user={}", shell(user))?,
        }
        match namespace {
            Some(namespace) => write!(f, " -n {namespace}"),
            None => write!(f, "; or name a namespace with -n"),
        }
    }
}

/// Returns whether the message is from a webhook and not from the API server itself.
fn is_of_admission(message: &str) -> bool {
    message.starts_with("admission webhook")
}

/// Quotes a text as one word of a shell command line.
pub(crate) fn shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@=+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
