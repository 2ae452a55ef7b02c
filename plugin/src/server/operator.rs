//! Sessions of mirrord's own operator, which keeps them itself and serves them in a shape of its
//! own.

use http::Method;
use mirrord_sessions_crds::{GROUP, SessionId};
use serde_json::{Value, json};

use super::{Deletion, Effect, Listing, Scope, Server, Source, everywhere, pages::name_kind};
use crate::error::{ApiError, Error, RequestInfo, Status, Verb};

/// What older operators put before the IDs of sessions that span clusters.
const PREFIXES: [&str; 2] = ["mc-copy-", "mc-"];

impl Server {
    /// All the sessions of a listing.
    pub(super) async fn operators_sessions(&self, listing: &Listing) -> Result<Vec<Value>, Error> {
        if listing.labels.is_some() {
            return Err(Error::setup(
                "the sessions of mirrord's operator have no labels: select without -l",
            ));
        }
        let asked = Self::asked_of(Verb::List, &listing.scope);
        let path = Source::Operator.path(&listing.scope, None);
        let mut items = match self.pages(&asked, &path, listing.fields.as_deref()).await {
            Ok(items) => items,
            // Older operators serve no list, and some roles only their status.
            Err(error)
                if error
                    .api_error()
                    .is_some_and(|api_error| [403, 404, 405].contains(&api_error.status.code)) =>
            {
                let is_forbidden =
                    error.api_error().is_some_and(|api_error| api_error.status.code == 403);
                // The list is what there should be a right to.
                self.operators_status()
                    .await
                    .map_err(|instead| if is_forbidden { error } else { instead })?
            }
            Err(error) => return Err(error),
        };
        name_kind(&mut items, &Source::Operator.kind());
        items.retain(|item| is_in(item, &listing.scope));
        if let Some(selector) = &listing.fields {
            let terms = terms(selector)?;
            items.retain(|item| terms.iter().all(|term| term.matches(item)));
        }
        Ok(items)
    }

    /// The sessions that the operator tells of itself.
    async fn operators_status(&self) -> Result<Vec<Value>, Error> {
        let path = format!("/apis/{GROUP}/v1/mirrordoperators/operator");
        let operator: Value =
            self.request(&everywhere(Verb::Get), Method::GET, &path, None).await?;
        let sessions =
            operator.pointer("/status/sessions").and_then(Value::as_array).ok_or_else(|| {
                Error::setup(
                    "mirrord's operator lists no sessions: its status has none, is it running?",
                )
            })?;
        Ok(sessions.iter().map(wrapped).collect())
    }

    /// Ends one session.
    pub(super) async fn end_operators(
        &self,
        namespace: &str,
        id: &SessionId,
        how: &Deletion<'_>,
    ) -> Result<(), Error> {
        // It has but one space of IDs: what is meant for one namespace must not reach into another.
        // Who may not look is trusted to know.
        if !namespace.is_empty() {
            match self.session(namespace, id).await {
                Err(error) if !error.api_error().is_some_and(ApiError::is_rbac) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        let Some(number) = number(id.name()) else {
            return Err(Error::Unaddressable { id: id.clone() });
        };
        let asked = RequestInfo {
            verb: Verb::Delete,
            namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
            id: Some(id.clone()),
        };
        let path = Source::Operator.path(&Scope::All, Some(&number.to_string()));
        self.end(asked, &path, how).await
    }

    /// Ends all the sessions of the cluster: the operator knows no smaller collection.
    pub async fn end_all_operators(&self, how: &Deletion<'_>) -> Result<(), Error> {
        let path = Source::Operator.path(&Scope::All, None);
        self.end(everywhere(Verb::DeleteCollection), &path, how).await
    }

    async fn end(&self, asked: RequestInfo, path: &str, how: &Deletion<'_>) -> Result<(), Error> {
        // Nothing public says that it heeds one, and to be wrong about it ends somebody's session.
        if how.effect == Effect::DryRun {
            return Err(Error::setup(
                "mirrord's operator may ignore --dry-run=server and stop the session: use --dry-run=client",
            ));
        }
        // It has no uids to compare.
        let options = Deletion { uid: None, ..*how }.options();
        let answer: Value = self
            .request(&asked, Method::DELETE, path, Some(&options))
            .await
            .map_err(|error| self.not_there(&asked, error))?;
        // The answer may be of success, and what it says of failure.
        if answer["kind"] == "Status" && answer["status"] == "Status" {
            let code = answer["code"].as_u64().and_then(|code| code.try_into().ok());
            let failure = Status::read(code.unwrap_or(500), answer.to_string().as_bytes());
            let refused = self.refused(asked.clone(), failure);
            return Err(self.not_there(&asked, refused));
        }
        Ok(())
    }

    /// An operator that was found is no missing installation: it has no such session, or doesn't
    /// know how to stop one.
    fn not_there(&self, asked: &RequestInfo, error: Error) -> Error {
        let Some(api_error) = error.api_error().filter(|no| no.is_not_installed()) else {
            return error;
        };
        // What mirrord itself takes for a missing route.
        let has_route = api_error.status.is_status && !api_error.status.reason.contains("parse");
        match &asked.id {
            Some(id) if has_route => self.refused(asked.clone(), Status::not_found(id)),
            _ => Error::setup(
                "mirrord's operator can't stop sessions in this version of it: an administrator may upgrade it",
            ),
        }
    }
}

/// A session of the operator's status in the shape that a list has.
fn wrapped(session: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "Session",
        "metadata": { "name": session["id"], "namespace": session["namespace"] },
        "spec": { "session": session },
    })
}

/// An ID without what older operators put before it.
#[must_use]
pub fn bare(id: &str) -> &str {
    let bare = PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix));
    bare.unwrap_or(id)
}

/// The number that the operator knows a session by.
fn number(id: &str) -> Option<u64> {
    let bare = bare(id);
    let is_hex = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(bare, 16).ok()).flatten()
}

fn is_in(item: &Value, scope: &Scope) -> bool {
    let namespace = item.pointer("/spec/session/namespace");
    match scope {
        Scope::All => true,
        Scope::Namespace(name) => namespace.and_then(Value::as_str) == Some(name),
    }
}

/// One condition of a field selector. The operator knows few of them and leaves out the others.
struct Term<'a> {
    pointer: String,
    value: &'a str,
    equal: bool,
}

impl Term<'_> {
    fn matches(&self, item: &Value) -> bool {
        let found = item.pointer(&self.pointer).and_then(Value::as_str);
        (found.unwrap_or_default() == self.value) == self.equal
    }
}

fn terms(selector: &str) -> Result<Vec<Term<'_>>, Error> {
    let parts = selector.split(',').filter(|part| !part.is_empty());
    let terms = parts.map(|part| {
        let (path, value, equal) = operator(part).ok_or_else(|| {
            Error::setup(format!("invalid selector: '{selector}'; can't understand '{part}'"))
        })?;
        Ok(Term { pointer: format!("/{}", path.replace('.', "/")), value, equal })
    });
    terms.collect()
}

fn operator(part: &str) -> Option<(&str, &str, bool)> {
    if let Some((path, value)) = part.split_once("!=") {
        return Some((path, value, false));
    }
    let (path, value) = part.split_once('=')?;
    Some((path, value.strip_prefix('=').unwrap_or(value), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_numbers() {
        let cases = [
            ("b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("mc-b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("mc-copy-b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("ff", Some(0xff)),
            ("", None),
            ("mc-", None),
            ("+1", None),
            ("nonsense", None),
            ("11111111111111111", None),
        ];
        for (id, expected) in cases {
            assert_eq!(number(id), expected, "{id:?}");
        }
    }

    #[test]
    fn selectors() {
        let item = json!({ "spec": { "session": { "key": "avi", "target": "deployment/a" } } });
        let cases = [
            ("spec.session.key=avi", Some(true)),
            ("spec.session.key==bob", Some(false)),
            ("spec.session.key!=bob,spec.session.target=deployment/a", Some(true)),
            ("spec.session.nothing=", Some(true)),
            ("", Some(true)),
            ("nonsense", None),
        ];
        for (selector, expected) in cases {
            let terms = terms(selector).ok();
            let matches = terms.map(|terms| terms.iter().all(|term| term.matches(&item)));
            assert_eq!(matches, expected, "{selector:?}");
        }
    }
}
