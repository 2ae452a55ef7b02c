//! Selection of the sessions that a command works on: by selectors, by ID, or by a prefix of an ID.

use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use crate::{
    cli::{ID_DIGITS, IdArgument, select::SelectionArgs},
    console::Console,
    error::{ApiError, Error},
    filter::Filter,
    server::{ListOptions, Scope, Server, Source},
    session::{Session, strip_operator_prefix},
};

/// Limit of the candidates that the error about an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 10;

/// Returns the source of sessions, and prints a warning if it is not the usual one.
pub(super) async fn source(server: &Server, console: &mut Console<'_>) -> Result<Source, Error> {
    let found = server.discover().await?;
    if let Some(warning) = found.warning() {
        console.say(&warning);
    }
    Ok(found.source)
}

/// Returns the request that selects sessions, and the filter for the response.
pub(super) async fn select(
    server: &Server,
    scope: Scope,
    selection: &SelectionArgs,
    include_ended: bool,
) -> Result<(ListOptions, Filter), Error> {
    let source = server.discover().await?.source;
    let mut listing = ListOptions {
        labels: selection.labels().map(ToOwned::to_owned),
        fields: selection.fields().map(ToOwned::to_owned),
        ..ListOptions::in_scope(scope)
    };
    let mut filter = Filter {
        user: selection.user.clone(),
        owner: None,
        target: selection.target.clone(),
        port: selection.port,
        over: include_ended,
        previews: selection.previews,
    };
    if selection.mine {
        let owner = server.whoami().await?;
        if source != Source::Operator {
            listing = listing.with_field(&format!("spec.owner.username={}", escape(&owner)));
        }
        filter.owner = Some(owner);
    }
    if source == Source::Trackers && !include_ended {
        listing = listing.with_field("status.state!=terminated");
    }
    Ok((listing, filter))
}

/// Returns the selected sessions, ordered by namespace and name.
pub(super) async fn list_selected(
    server: &Server,
    listing: &ListOptions,
    filter: &Filter,
) -> Result<Vec<Session>, Error> {
    let items = server.list(listing).await?.collect().await?;
    let mut sessions: Vec<Session> = items.iter().map(Session::from_object).collect();
    sessions.retain(|session| filter.shows(session));
    sessions.sort_by(Session::order);
    Ok(sessions)
}

/// Returns the sessions that an ID of the command line names. Never empty.
///
/// These are the sessions with that ID, or else the only one whose ID begins with it.
pub(super) async fn find(
    server: &Server,
    scope: &Scope,
    typed: &IdArgument,
) -> Result<Vec<Value>, Error> {
    let id = &typed.id;
    let exact = match scope {
        Scope::All => server.find(id).await,
        Scope::Namespace(namespace) => server.session(namespace, id).await.map(|item| vec![item]),
    };
    let is_missing = exact.as_ref().is_err_and(Error::is_not_found);
    if !(exact.is_ok() || is_missing) || !typed.may_be_prefix {
        return exact;
    }
    let mut listed = match server.sessions(scope, None).await {
        Ok(listed) => listed,
        // A requester who may not list can name sessions by complete IDs only.
        Err(error) if error.api_error().is_some_and(ApiError::is_rbac) => return exact,
        Err(error) => return Err(error),
    };
    // The session may have been created or have ended between both requests.
    let is_exact = |item: &Value| has_id(&Session::from_object(item), id);
    listed.retain(|item| !is_exact(item));
    listed.extend(exact.as_ref().ok().into_iter().flatten().cloned());
    match resolve(&listed, typed, true)? {
        Named::None => exact,
        Named::Exact(found) => Ok(found.into_iter().cloned().collect()),
        Named::Prefix(item) => Ok(vec![item.clone()]),
    }
}

/// The sessions that an ID of the command line names.
#[derive(Debug)]
pub(super) enum Named<'a> {
    /// No session has the ID, or an ID that begins with it.
    None,
    /// The sessions with this ID, in one or several namespaces.
    Exact(Vec<&'a Value>),
    /// The only session whose ID begins with it.
    Prefix(&'a Value),
}

/// Resolves an ID of the command line among the listed sessions.
///
/// A prefix matches live sessions, and ended ones only with `include_ended`. Preview environments,
/// which lists hide, match no prefix.
///
/// # Errors
/// Returns an error that lists the candidates if the ID is a prefix of several IDs, or both an ID
/// and a prefix. The owner of a session chooses its name, so a short name must not take precedence:
/// it could divert the commands about another session.
pub(super) fn resolve<'a>(
    listed: &'a [Value],
    typed: &IdArgument,
    include_ended: bool,
) -> Result<Named<'a>, Error> {
    let id = &typed.id;
    let mut exact: Vec<&Value> =
        listed.iter().filter(|item| has_id(&Session::from_object(item), id)).collect();
    let is_live = |item: &&Value| !Session::from_object(item).is_over();
    if !include_ended && exact.iter().any(is_live) {
        exact.retain(is_live);
    }
    let begins = |item: &&Value| begins_with(&Session::from_object(item), id, include_ended);
    let longer: Vec<&Value> =
        if typed.may_be_prefix { listed.iter().filter(begins).collect() } else { Vec::new() };
    match (exact.is_empty(), &longer[..]) {
        (true, []) => Ok(Named::None),
        (true, [item]) => Ok(Named::Prefix(item)),
        (false, []) => Ok(Named::Exact(exact)),
        (is_prefix_only, _) => {
            let candidates = candidates(&[&exact[..], &longer[..]].concat());
            Err(if is_prefix_only {
                Error::AmbiguousPrefix { id: id.clone(), candidates }
            } else {
                Error::AmbiguousName { id: id.clone(), candidates }
            })
        }
    }
}

fn has_id(session: &Session, id: &SessionId) -> bool {
    session.name.eq_ignore_ascii_case(id.name())
}

/// Returns whether the session has a generated ID that is longer than this one and begins with it.
fn begins_with(session: &Session, id: &SessionId, include_ended: bool) -> bool {
    let name = session.name.to_ascii_lowercase();
    let digits = strip_operator_prefix(&name);
    digits.len() == ID_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && name.starts_with(id.name())
        && (include_ended || !session.is_over())
        && !session.is_preview()
}

fn candidates(found: &[&Value]) -> String {
    let mut sessions: Vec<Session> = found.iter().map(|item| Session::from_object(item)).collect();
    sessions.sort_by(Session::order);
    let named = sessions.iter().take(MAX_CANDIDATES).map(|session| {
        let what = [&session.user, &session.target].map(|part| part.as_deref().unwrap_or("?"));
        format!("{} ({})", session.id(), what.join(", "))
    });
    let named: Vec<String> = named.collect();
    match sessions.len().saturating_sub(MAX_CANDIDATES) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// Escapes a value of a field selector.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn escapes_values_of_field_selectors() {
        assert_eq!(escape(r"a=b,c\d"), r"a\=b\,c\\d");
    }

    #[test]
    fn limits_listed_candidates() {
        let all: Vec<Value> = (0..12)
            .map(|n| json!({ "metadata": { "name": format!("s{n:02}") }, "spec": { "target": "t" } }))
            .collect();
        let text = candidates(&all.iter().collect::<Vec<_>>());
        assert!(text.starts_with("s00 (?, t); s01 (?, t); "), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }

    fn session(name: &str, state: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "n" }, "status": { "state": state } })
    }

    fn name(item: &Value) -> &str {
        item["metadata"]["name"].as_str().unwrap()
    }

    #[test]
    fn resolves_prefixes_of_generated_ids_only() {
        let all = ["48fa000000000000", "4900000000000000", "ab-1", "abc0", "mc-9d00000000000000"]
            .map(|name| session(name, "running"));
        for (typed, expected) in [
            ("48", Some("48fa000000000000")),
            ("48F", Some("48fa000000000000")),
            ("mc-9d", Some("mc-9d00000000000000")),
            ("abc", None),
            ("5", None),
        ] {
            let found = match resolve(&all, &typed.parse().unwrap(), false).unwrap() {
                Named::Prefix(item) => Some(name(item)),
                Named::None => None,
                exact @ Named::Exact(_) => panic!("{typed}: {exact:?}"),
            };
            assert_eq!(found, expected, "{typed}");
        }
        let error = resolve(&all, &"4".parse().unwrap(), false).unwrap_err();
        assert!(matches!(error, Error::AmbiguousPrefix { .. }), "{error}");
    }

    #[test]
    fn rejects_names_that_are_prefixes() {
        let id = || session("487f4f2b6d2376ad", "running");
        let short = |state| session("487f", state);
        for (case, listed, typed, include_ended, expected) in [
            ("a decoy", vec![short("running"), id()], "487F", false, Err(())),
            ("an ended decoy", vec![short("terminated"), id()], "487f", false, Err(())),
            ("a named decoy", vec![short("running"), id()], "session/487f", false, Ok("487f")),
            ("the decoy alone", vec![short("running")], "487f", false, Ok("487f")),
            (
                "the complete ID",
                vec![short("running"), id()],
                "487F4F2B6D2376AD",
                false,
                Ok("487f4f2b6d2376ad"),
            ),
            (
                "a longer prefix",
                vec![short("running"), id()],
                "487f4",
                false,
                Ok("487f4f2b6d2376ad"),
            ),
            (
                "an ended session",
                vec![short("running"), session("487f4f2b6d2376ad", "terminated")],
                "487f",
                false,
                Ok("487f"),
            ),
            (
                "an ended session, included",
                vec![short("running"), session("487f4f2b6d2376ad", "terminated")],
                "487f",
                true,
                Err(()),
            ),
        ] {
            let resolved = resolve(&listed, &typed.parse().unwrap(), include_ended);
            let found = match &resolved {
                Ok(Named::Exact(items)) => Ok(name(items[0])),
                Ok(Named::Prefix(item)) => Ok(name(item)),
                Err(Error::AmbiguousName { .. }) => Err(()),
                other => panic!("{case}: {other:?}"),
            };
            assert_eq!(found, expected, "{case}");
        }
    }
}
