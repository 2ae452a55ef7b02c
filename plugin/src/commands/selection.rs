//! Selection of the sessions that a command works on: by selectors, by ID, or by a prefix of an ID.

use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use crate::{
    cli::select::SelectionArgs,
    console::Console,
    error::{ApiError, Error},
    filter::Filter,
    server::{ListOptions, Scope, Server, Source},
    session::{Session, strip_operator_prefix},
};

/// Limit of the candidates that the error about an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 10;
/// The length of the IDs that mirrord generates.
const ID_DIGITS: usize = 16;

/// Returns the source of sessions, and prints a warning if it is not the usual one.
pub(super) async fn source(server: &Server, console: &mut Console<'_>) -> Result<Source, Error> {
    let found = server.discover().await?;
    if let Some(warning) = &found.warning {
        console.say(warning);
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

/// Returns the sessions with an ID, or else the one whose ID has that prefix. Never empty.
pub(super) async fn find(
    server: &Server,
    scope: &Scope,
    id: &SessionId,
) -> Result<Vec<Value>, Error> {
    let exact = match scope {
        Scope::All => server.find(id).await,
        Scope::Namespace(namespace) => server.session(namespace, id).await.map(|item| vec![item]),
    };
    match exact {
        Err(error) if error.is_not_found() => {
            find_by_prefix(server, scope, id, true).await?.map(|item| vec![item]).ok_or(error)
        }
        other => other,
    }
}

/// Returns the only session whose ID has this prefix, or nothing if none has it or the requester
/// may not list.
pub(super) async fn find_by_prefix(
    server: &Server,
    scope: &Scope,
    id: &SessionId,
    include_ended: bool,
) -> Result<Option<Value>, Error> {
    if !is_prefix(id) {
        return Ok(None);
    }
    let found = match server.sessions(scope, None).await {
        Ok(found) => found,
        Err(error) if error.api_error().is_some_and(ApiError::is_rbac) => return Ok(None),
        Err(error) => return Err(error),
    };
    unique_match(&found, id, include_ended).map(Option::<&Value>::cloned)
}

/// Returns whether a text can be the prefix of a generated ID.
///
/// Other IDs have no prefixes: users name them after each other ("web-1" and "web-10").
pub(super) fn is_prefix(id: &SessionId) -> bool {
    let digits = strip_operator_prefix(id.name());
    !digits.is_empty()
        && digits.len() < ID_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the only session whose ID has a prefix, if there is one. Preview environments, which
/// lists hide, never match.
///
/// # Errors
/// Returns an error that lists the candidates if several match.
pub(super) fn unique_match<'a>(
    all: &'a [Value],
    id: &SessionId,
    include_ended: bool,
) -> Result<Option<&'a Value>, Error> {
    let fits = |item: &&Value| {
        let session = Session::from_object(item);
        let name = session.name.to_ascii_lowercase();
        let digits = strip_operator_prefix(&name);
        digits.len() == ID_DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name.starts_with(id.name())
            && (include_ended || !session.is_over())
            && !session.is_preview()
    };
    let found: Vec<&Value> = all.iter().filter(fits).collect();
    match found[..] {
        [] => Ok(None),
        [item] => Ok(Some(item)),
        _ => Err(Error::AmbiguousPrefix { id: id.clone(), candidates: candidates(&found) }),
    }
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

    #[test]
    fn resolves_prefixes_of_generated_ids_only() {
        let all: Vec<Value> =
            ["48fa000000000000", "4900000000000000", "48f", "ab-1", "abc0", "mc-9d00000000000000"]
                .iter()
                .map(|name| json!({ "metadata": { "name": name } }))
                .collect();
        for (typed, expected) in [
            ("48", Some("48fa000000000000")),
            ("48f", Some("48fa000000000000")),
            ("mc-9d", Some("mc-9d00000000000000")),
            ("abc", None),
            ("5", None),
        ] {
            let id = SessionId::from_name(typed);
            assert!(is_prefix(&id), "{typed}");
            let found = unique_match(&all, &id, false).unwrap();
            let found = found.map(|item| item["metadata"]["name"].as_str().unwrap());
            assert_eq!(found, expected, "{typed}");
        }
        assert!(unique_match(&all, &SessionId::from_name("4"), false).is_err());
        for whole in ["web-1", "ab-", "", "mc-", "48fa000000000000", "48fa0000000000001"] {
            assert!(!is_prefix(&SessionId::from_name(whole)), "{whole}");
        }
    }
}
