//! Resolution of the IDs of a command line that deletes sessions.

use serde_json::Value;

use super::target::ResolvedTarget;
use crate::{
    cli::IdArgument,
    commands::{
        once,
        selection::{self, Named},
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
    let lists = describe || *scope == Scope::All || ids.iter().any(|typed| typed.may_be_prefix);
    let listed = if lists {
        // The server can select a single complete ID.
        let only = match ids {
            [typed] if !typed.may_be_prefix => Some(&typed.id),
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

/// Finds the session that an ID of the command line names.
fn find(listed: &[Value], typed: &IdArgument) -> Result<Option<Session>, Error> {
    let found = match selection::resolve(listed, typed, false)? {
        Named::None => return Ok(None),
        Named::Prefix(item) => return Ok(Some(Session::from_object(item))),
        Named::Exact(found) => found,
    };
    let sessions: Vec<Session> = found.into_iter().map(Session::from_object).collect();
    match sessions.as_slice() {
        [session] => Ok(Some(session.clone())),
        several => {
            let namespaces: Vec<&str> =
                several.iter().map(|session| session.namespace.as_str()).collect();
            Err(Error::Ambiguous { id: typed.id.clone(), namespaces: namespaces.join(", ") })
        }
    }
}
