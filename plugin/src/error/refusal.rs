//! A server's no: which request, what it said, and what that means.

use std::fmt;

use mirrord_sessions_crds::{GROUP, SESSIONS, SessionId, TRACKER_GROUP, TRACKERS};
use serde::Deserialize;

use crate::session::kind_name;

/// The role whose rules a user of sessions needs.
const USER_ROLE: &str = "mirrord-operator-user";

/// What a request wanted to do, as RBAC names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Follow all.
    Watch,
    /// Write one.
    Create,
    /// Delete one.
    Delete,
    /// Delete all of a namespace.
    DeleteCollection,
}

impl Verb {
    /// What hasn't been done when it was refused.
    fn undone(self) -> &'static str {
        match self {
            Self::Get | Self::List | Self::Watch => "not read",
            Self::Create => "not joined",
            Self::Delete | Self::DeleteCollection => "not deleted",
        }
    }
}

/// What was asked of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What to do.
    pub verb: Verb,
    /// In which namespace; everywhere if in none.
    pub namespace: Option<String>,
    /// To which session, if to a single one.
    pub id: Option<SessionId>,
}

/// The part of a server's failing answer that matters here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason, as `NotFound`.
    pub reason: String,
    /// What the server says.
    pub message: String,
    /// Name of the object that the answer is about.
    pub name: String,
    /// What it is, as `namespaces`.
    pub kind: String,
    /// Whether the answer was a Status of Kubernetes, and not some page of text.
    pub is_status: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
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

impl Failure {
    /// The answer of a server that has no session of that id.
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

    /// Reads an answer with an HTTP status of failure.
    #[must_use]
    pub fn read(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Status>(body) {
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

/// A request that the server refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The server's address.
    pub host: String,
    /// Whose credentials were used, as `user "dev"`.
    pub credentials: String,
    /// What was asked.
    pub asked: Asked,
    /// What the server answered.
    pub failure: Failure,
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whether the session doesn't exist (and the API does).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.failure.code == 404 && !self.failure.name.is_empty()
    }

    /// Whether there is one of that name already.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        self.failure.code == 409 && self.failure.reason == "AlreadyExists"
    }

    /// Whether the server has no Sessions at all.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        // Go's router answers in text where no API is; a proxy or a web server in HTML.
        let Failure { code, name, message, is_status, .. } = &self.failure;
        // A webhook that refuses what is there may say 404 of it.
        *code == 404
            && name.is_empty()
            && !is_of_admission(message)
            && (*is_status || message.trim() == "404 page not found")
    }

    /// Whether the requester's roles don't allow it. A webhook or a policy that says no is not
    /// meant.
    #[must_use]
    pub fn is_rbac(&self) -> bool {
        Denial::read(&self.failure).is_some()
    }

    /// Whether the server doesn't know who asks.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        let is_anonymous = |denial: Denial<'_>| denial.user == "system:anonymous";
        self.failure.code == 401 || Denial::read(&self.failure).is_some_and(is_anonymous)
    }

    /// Whether the next request would be refused for the same reason, whatever it asks for.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.failure.code, 401 | 429 | 503 | 504)
            || !self.failure.is_status
            || self.is_not_installed()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { code, reason, message, is_status, .. } = &self.failure;
        // Nobody should be told to give rights to whoever isn't logged in.
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
        if !is_status {
            return self.not_kubernetes(f);
        }
        if self.is_not_found() {
            return self.not_found(f);
        }
        if let Some(denial) = Denial::read(&self.failure) {
            return denial.explain(f, &self.asked);
        }
        if reason.is_empty() {
            write!(f, "Error from server: ")?;
        } else {
            write!(f, "Error from server ({reason}): ")?;
        }
        let quoted = |id: &SessionId| format!("\"{}\"", id.name());
        match &self.asked.id {
            // The id as the person typed it, and not as the server stores it.
            Some(id) if message.contains(&quoted(id)) => {
                write!(f, "{}", message.replace(&quoted(id), &format!("\"{id}\"")))?;
            }
            Some(id) => {
                let undone = self.asked.verb.undone();
                write!(f, "{} \"{id}\" {undone}: {message}", kind_name())?;
            }
            None => write!(f, "{message}")?,
        }
        if matches!(code, 429 | 503 | 504) {
            write!(f, ": try again later")?;
        }
        Ok(())
    }
}

impl Refusal {
    fn not_kubernetes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, code) = (&self.host, self.failure.code);
        write!(f, "error: {host} answered with HTTP status {code}")?;
        if self.failure.message.contains("HTTP request to an HTTPS server") {
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
        let Asked { namespace, id, .. } = &self.asked;
        // What was to be created has no place to be in.
        if self.failure.kind == "namespaces" {
            return write!(
                f,
                "Error from server (NotFound): namespaces {:?} not found: name one that is there with -n",
                self.failure.name
            );
        }
        let shown = id.clone().unwrap_or_else(|| SessionId::of_name(&self.failure.name));
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

/// What RBAC denied: the authorizer's message, taken apart.
#[derive(Debug, Eq, PartialEq)]
struct Denial<'a> {
    user: String,
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
    namespace: Option<&'a str>,
    /// What the authorizer adds, as a role that doesn't exist.
    more: &'a str,
}

impl<'a> Denial<'a> {
    /// Takes apart `X is forbidden: User "U" cannot VERB resource "R" in API group "G" in the
    /// namespace "N"`; nothing if it isn't such a message.
    fn read(failure: &'a Failure) -> Option<Self> {
        if failure.code != 403 {
            return None;
        }
        let (subject, rest) = failure.message.split_once(" is forbidden: User \"")?;
        // A webhook says what it likes, these very words too.
        if is_of_admission(subject) {
            return None;
        }
        // The name is the person's own and may hold anything, so the end is looked for from behind.
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

    fn explain(&self, f: &mut fmt::Formatter<'_>, asked: &Asked) -> fmt::Result {
        let Self { user, verb, resource, group, namespace, more } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(
            f,
            "Error from server (Forbidden): User {user:?} cannot {verb} {resource}{dot}{group}"
        )?;
        // Those of trackers' subresources too.
        let is_ours = (*group == GROUP && *resource == "sessions")
            || (*group == TRACKER_GROUP && resource.starts_with(TRACKERS));
        if let (Some(id), true) = (&asked.id, is_ours) {
            write!(f, " \"{id}\"")?;
        }
        match namespace {
            Some(namespace) => write!(f, " in namespace \"{namespace}\"{more}")?,
            None if is_ours => write!(f, " in all namespaces{more}")?,
            None => write!(f, " at the cluster scope{more}")?,
        }
        // "impersonate", and since Kubernetes 1.36 "impersonate-on:user-info:list" and the like
        // too.
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

/// Whether a webhook says it, and not the API server itself.
fn is_of_admission(message: &str) -> bool {
    message.starts_with("admission webhook")
}

/// The text as one word of a shell's command line.
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
