//! Resolution of the IDs of a command line that deletes sessions.

use serde_json::Value;

use super::target::ResolvedTarget;
use crate::{
    cli::stop::IdArgument,
    commands::{
        once,
        selection::{is_prefix, unique_match},
    },
    error::{ApiError, Error},
    server::{Scope, Server},
    session::Session,
};

/// The result of resolving IDs.
pub(super) struct Resolution {
    /// The sessions to delete, without duplicates.
    pub(super) targets: Vec<ResolvedTarget>,
    /// The errors about IDs without a session.
    pub(super) missing: Vec<Error>,
}

/// Resolves IDs and prefixes of IDs. `describe` requires the users and targets of the sessions.
pub(super) async fn resolve(
    server: &Server,
    ids: &[IdArgument],
    scope: &Scope,
    describe: bool,
) -> Result<Resolution, Error> {
    let lists = describe
        || *scope == Scope::All
        || ids.iter().any(|typed| typed.may_be_prefix && is_prefix(&typed.id));
    let listed = if lists {
        // The server can select a single complete ID.
        let only = match ids {
            [typed] if !(typed.may_be_prefix && is_prefix(&typed.id)) => Some(&typed.id),
            _ => None,
        };
        match server.sessions(scope, only).await {
            Ok(listed) => listed,
            Err(error)
                if *scope != Scope::All && error.api_error().is_some_and(ApiError::is_rbac) =>
            {
                Vec::new()
            }
            Err(error) => return Err(error),
        }
    } else {
        Vec::new()
    };
    let mut targets: Vec<ResolvedTarget> = Vec::new();
    let mut missing = Vec::new();
    for typed in once(ids) {
        let resolved = match (find(&listed, typed)?, scope) {
            (Some(session), _) => ResolvedTarget::from_session(&session),
            (None, Scope::Namespace(namespace)) => ResolvedTarget::from_typed(&typed.id, namespace),
            (None, Scope::All) => {
                missing.push(server.not_found(scope, &typed.id));
                continue;
            }
        };
        let key = |resolved: &ResolvedTarget| {
            (resolved.target.namespace.clone(), resolved.target.id.clone())
        };
        if !targets.iter().any(|other| key(other) == key(&resolved)) {
            targets.push(resolved);
        }
    }
    Ok(Resolution { targets, missing })
}

/// Finds the session with an ID, or else the only one whose ID has that prefix.
fn find(listed: &[Value], typed: &IdArgument) -> Result<Option<Session>, Error> {
    let IdArgument { id, may_be_prefix } = typed;
    let mut exact: Vec<Session> = listed
        .iter()
        .map(Session::from_object)
        .filter(|session| session.name.eq_ignore_ascii_case(id.name()))
        .collect();
    if exact.iter().any(|session| !session.is_over()) {
        exact.retain(|session| !session.is_over());
    }
    match exact.as_slice() {
        [] if *may_be_prefix && is_prefix(id) => {
            let item = unique_match(listed, id, false)?;
            Ok(item.map(Session::from_object))
        }
        [] => Ok(None),
        [session] => Ok(Some(session.clone())),
        several => {
            let namespaces: Vec<&str> =
                several.iter().map(|session| session.namespace.as_str()).collect();
            Err(Error::Ambiguous { id: id.clone(), namespaces: namespaces.join(", ") })
        }
    }
}
