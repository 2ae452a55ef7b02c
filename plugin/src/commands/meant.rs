//! The sessions that are meant by the IDs of a command line that stops them.

use mirrord_sessions_crds::SessionId;
use serde_json::Value;

use super::{
    choose::{begins, only_beginning_with},
    delete::Doomed,
    once,
};
use crate::{
    cli::stop::Typed,
    error::{Error, Refusal},
    render::escape::visible,
    server::{Scope, Server},
    session::Session,
};

/// What an ID on the command line stands for.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) doomed: Doomed,
    /// Who runs it on what, if it could be looked at.
    shown: Option<String>,
}

impl Meant {
    /// The ID as it is typed, which needs no right to look.
    fn typed(id: &SessionId, namespace: &str) -> Self {
        Self {
            doomed: Doomed { namespace: namespace.to_owned(), id: id.clone(), uid: None },
            shown: None,
        }
    }

    fn found(session: &Session) -> Self {
        let what = [&session.user, &session.target].map(|part| part.as_deref().unwrap_or("?"));
        Self { doomed: Doomed::of(session), shown: Some(what.join(", ")) }
    }

    /// A line that a terminal may see: others chose what is in it.
    pub(super) fn line(&self) -> String {
        let id = self.doomed.id.to_string();
        let id = visible(&id);
        match &self.shown {
            Some(shown) => format!("{id} ({})", visible(shown)),
            None => id.into_owned(),
        }
    }
}

/// The sessions that are meant, each once, and what is missing.
pub(super) async fn resolve(
    server: &Server,
    ids: &[Typed],
    scope: &Scope,
    asks: bool,
) -> Result<(Vec<Meant>, Vec<Error>), Error> {
    let looks = asks
        || *scope == Scope::All
        || ids.iter().any(|typed| typed.may_begin && begins(&typed.id));
    let all = if looks {
        // The server can look for one that is whole.
        let only = match ids {
            [typed] if !(typed.may_begin && begins(&typed.id)) => Some(&typed.id),
            _ => None,
        };
        match server.sessions(scope, only).await {
            Ok(all) => all,
            Err(error) if *scope != Scope::All && error.refusal().is_some_and(Refusal::is_rbac) => {
                Vec::new()
            }
            Err(error) => return Err(error),
        }
    } else {
        Vec::new()
    };
    let mut meant: Vec<Meant> = Vec::new();
    let mut missing = Vec::new();
    for typed in once(ids) {
        let one = match (in_list(&all, typed)?, scope) {
            (Some(session), _) => Meant::found(&session),
            (None, Scope::Namespace(namespace)) => Meant::typed(&typed.id, namespace),
            (None, Scope::All) => {
                missing.push(server.not_found(scope, &typed.id));
                continue;
            }
        };
        let place = |one: &Meant| (one.doomed.namespace.clone(), one.doomed.id.clone());
        if !meant.iter().any(|other| place(other) == place(&one)) {
            meant.push(one);
        }
    }
    Ok((meant, missing))
}

/// The session of that ID, or else the one whose ID begins like that.
fn in_list(all: &[Value], typed: &Typed) -> Result<Option<Session>, Error> {
    let Typed { id, may_begin } = typed;
    let mut exact: Vec<Session> = all
        .iter()
        .map(Session::of_object)
        .filter(|session| session.name.eq_ignore_ascii_case(id.name()))
        .collect();
    if exact.iter().any(|session| !session.is_over()) {
        exact.retain(|session| !session.is_over());
    }
    match exact.as_slice() {
        [] if *may_begin && begins(id) => {
            let item = only_beginning_with(all, id, false)?;
            Ok(item.map(Session::of_object))
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
