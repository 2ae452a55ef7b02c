//! The sessions that a command deletes.

use mirrord_sessions_crds::SessionId;

use crate::{render::escape::visible, session::Session};

/// A session to delete, or a deleted one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::commands) struct DeleteTarget {
    pub(in crate::commands) namespace: String,
    pub(in crate::commands) id: SessionId,
    /// A precondition of the deletion, if the session was listed.
    pub(in crate::commands) uid: Option<String>,
}

impl DeleteTarget {
    pub(in crate::commands) fn from_session(session: &Session) -> Self {
        Self { namespace: session.namespace.clone(), id: session.id(), uid: session.uid.clone() }
    }
}

/// An ID of the command line, resolved to the session that it stands for.
#[derive(Debug)]
pub(super) struct ResolvedTarget {
    pub(super) target: DeleteTarget,
    /// The user and the target of the session, if the requester may read it.
    description: Option<String>,
}

impl ResolvedTarget {
    /// Creates a target from an ID as typed, without reading the session.
    pub(super) fn from_typed(id: &SessionId, namespace: &str) -> Self {
        Self {
            target: DeleteTarget { namespace: namespace.to_owned(), id: id.clone(), uid: None },
            description: None,
        }
    }

    pub(super) fn from_session(session: &Session) -> Self {
        let parts = [&session.user, &session.target].map(|part| part.as_deref().unwrap_or("?"));
        Self { target: DeleteTarget::from_session(session), description: Some(parts.join(", ")) }
    }

    /// Returns the target as an escaped line for the terminal.
    pub(super) fn line(&self) -> String {
        let id = self.target.id.to_string();
        let id = visible(&id);
        match &self.description {
            Some(description) => format!("{id} ({})", visible(description)),
            None => id.into_owned(),
        }
    }
}
