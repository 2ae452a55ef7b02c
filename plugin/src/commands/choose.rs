//! Which sessions a command is about: by selectors, by ID, or by the beginning of an ID.

use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use crate::{
    cli::select::Select,
    console::Console,
    error::{Error, Refusal},
    filter::Filter,
    server::{Listing, Scope, Server, Source, bare},
    session::Session,
};

/// How many candidates are named for the beginning of an ID.
const CANDIDATES: usize = 10;
/// How long an ID is that mirrord makes.
const DIGITS: usize = 16;

/// Where sessions are read from; says so where it isn't what people expect.
pub(super) async fn source(server: &Server, console: &mut Console<'_>) -> Result<Source, Error> {
    let found = server.source().await?;
    if let Some(warning) = &found.warning {
        console.say(warning);
    }
    Ok(found.source)
}

/// What to ask the server for, and what to leave out of its answer. `over` asks for sessions that
/// are over, too.
pub(super) async fn choose(
    server: &Server,
    scope: Scope,
    select: &Select,
    over: bool,
) -> Result<(Listing, Filter), Error> {
    let source = server.source().await?.source;
    let mut listing = Listing {
        labels: select.labels().map(ToOwned::to_owned),
        fields: select.fields().map(ToOwned::to_owned),
        ..Listing::of(scope)
    };
    let mut filter = Filter {
        user: select.user.clone(),
        owner: None,
        target: select.target.clone(),
        port: select.port,
        over,
        previews: select.previews,
    };
    if select.mine {
        let owner = server.whoami().await?;
        if source != Source::Operator {
            listing = listing.and(&format!("spec.owner.username={}", escaped(&owner)));
        }
        filter.owner = Some(owner);
    }
    if source == Source::Trackers && !over {
        listing = listing.and("status.state!=terminated");
    }
    Ok((listing, filter))
}

/// The sessions of a scope that a command is about, by namespace and name.
pub(super) async fn chosen(
    server: &Server,
    listing: &Listing,
    filter: &Filter,
) -> Result<Vec<Session>, Error> {
    let items = server.listing(listing).await?.all().await?;
    let mut sessions: Vec<Session> = items.iter().map(Session::of_object).collect();
    sessions.retain(|session| filter.shows(session));
    sessions.sort_by(Session::order);
    Ok(sessions)
}

/// The sessions that were meant by an ID, of which there is at least one: those that have it, or
/// else the one whose ID begins like that.
pub(super) async fn meant(
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
            beginning_with(server, scope, id, true).await?.map(|item| vec![item]).ok_or(error)
        }
        other => other,
    }
}

/// The only session whose ID begins like that; nothing if there is none, or if the requester may
/// not look.
pub(super) async fn beginning_with(
    server: &Server,
    scope: &Scope,
    id: &SessionId,
    over: bool,
) -> Result<Option<Value>, Error> {
    if !begins(id) {
        return Ok(None);
    }
    let found = match server.sessions(scope, None).await {
        Ok(found) => found,
        Err(error) if error.refusal().is_some_and(Refusal::is_rbac) => return Ok(None),
        Err(error) => return Err(error),
    };
    only_beginning_with(&found, id, over).map(Option::<&Value>::cloned)
}

/// Whether it can be the beginning of an ID: only of those that mirrord makes, as people name
/// others for each other ("web-1" and "web-10").
pub(super) fn begins(id: &SessionId) -> bool {
    let digits = bare(id.name());
    !digits.is_empty()
        && digits.len() < DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The only one of the sessions whose ID begins like that, if there is one. Preview environments
/// don't count, as lists hide them.
///
/// # Errors
/// There are several.
pub(super) fn only_beginning_with<'a>(
    all: &'a [Value],
    id: &SessionId,
    over: bool,
) -> Result<Option<&'a Value>, Error> {
    let fits = |item: &&Value| {
        let session = Session::of_object(item);
        let name = session.name.to_ascii_lowercase();
        let digits = bare(&name);
        digits.len() == DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name.starts_with(id.name())
            && (over || !session.is_over())
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
    let mut sessions: Vec<Session> = found.iter().map(|item| Session::of_object(item)).collect();
    sessions.sort_by(Session::order);
    let named = sessions.iter().take(CANDIDATES).map(|session| {
        let what = [&session.user, &session.target].map(|part| part.as_deref().unwrap_or("?"));
        format!("{} ({})", session.id(), what.join(", "))
    });
    let named: Vec<String> = named.collect();
    match sessions.len().saturating_sub(CANDIDATES) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// The text as a value of a field selector.
fn escaped(value: &str) -> String {
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
    fn values_of_selectors() {
        assert_eq!(escaped(r"a=b,c\d"), r"a\=b\,c\\d");
    }

    #[test]
    fn candidates_are_told_apart_and_cut_short() {
        let all: Vec<Value> = (0..12)
            .map(|n| json!({ "metadata": { "name": format!("s{n:02}") }, "spec": { "target": "t" } }))
            .collect();
        let text = candidates(&all.iter().collect::<Vec<_>>());
        assert!(text.starts_with("s00 (?, t); s01 (?, t); "), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }

    #[test]
    fn only_ids_of_mirrord_have_beginnings() {
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
            let id = SessionId::of_name(typed);
            assert!(begins(&id), "{typed}");
            let found = only_beginning_with(&all, &id, false).unwrap();
            let found = found.map(|item| item["metadata"]["name"].as_str().unwrap());
            assert_eq!(found, expected, "{typed}");
        }
        assert!(only_beginning_with(&all, &SessionId::of_name("4"), false).is_err());
        for whole in ["web-1", "ab-", "", "mc-", "48fa000000000000", "48fa0000000000001"] {
            assert!(!begins(&SessionId::of_name(whole)), "{whole}");
        }
    }
}
