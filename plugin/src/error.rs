//! What went wrong, as one line that says what to do about it.

mod refusal;
mod transport;

use std::{io, time::Duration};

use mirrord_sessions_crds::SessionId;
use thiserror::Error;

pub(crate) use refusal::shell;
pub use refusal::{Asked, Failure, Refusal, Verb};
pub use transport::Transport;

/// Why a command failed. Its text is what the person reads, in kubectl's words where it has any.
#[derive(Debug, Error)]
pub enum Error {
    /// The command line or the kubeconfig can't be used as it is.
    #[error("error: {0}")]
    Setup(String),
    /// The server answered, and said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The server couldn't be reached, or the connection broke.
    #[error(transparent)]
    Transport(Transport),
    /// The server didn't answer in time.
    #[error(
        "Unable to connect to the server: {host} did not answer within {after:?}: is it up? --request-timeout sets how long to wait"
    )]
    Timeout {
        /// The server's address.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer isn't one of a Kubernetes API server.
    #[error(
        "error: the answer of {host} is not that of a Kubernetes API server ({what}): check the server in the kubeconfig"
    )]
    Unexpected {
        /// The server's address.
        host: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// Standard output can't be written.
    #[error("error: cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// An ID that more than one session has.
    #[error(
        "error: there is a session \"{id}\" in more than one namespace: name one with -n ({namespaces})"
    )]
    Ambiguous {
        /// The ID.
        id: SessionId,
        /// Where there are sessions of it.
        namespaces: String,
    },
    /// The beginning of more than one ID.
    #[error(
        "error: \"{id}\" is the beginning of more than one session ID, type more of it: {candidates}"
    )]
    AmbiguousPrefix {
        /// What was typed.
        id: SessionId,
        /// Which ones it may mean.
        candidates: String,
    },
    /// A session of mirrord's operator that can't be named to it.
    #[error("error: session \"{id}\" of mirrord's operator has no ID that it could be stopped by")]
    Unaddressable {
        /// What stands for an ID.
        id: SessionId,
    },
    /// A session that is to go and can't.
    #[error(
        "error: session \"{id}\" in namespace \"{namespace}\" is marked for deletion and held up by its finalizers ({finalizers}): whoever set them has to remove them"
    )]
    Held {
        /// The ID.
        id: SessionId,
        /// Where it is.
        namespace: String,
        /// What holds it.
        finalizers: String,
    },
    /// The command that was to be run ended so, or was not run for a reason that was told already.
    #[error("error: exit code {0}")]
    Exit(u8),
    /// Something failed, and was told already.
    #[error("error: not everything was done")]
    Told,
}

impl Error {
    /// An error of the command line or the kubeconfig.
    pub fn setup(message: impl Into<String>) -> Self {
        Self::Setup(message.into())
    }

    /// What the server refused, if that is what happened.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether there is one of that name already.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_already_there)
    }

    /// Whether the thing that was asked for doesn't exist, on a server that has such things.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_not_found)
    }

    /// Whether the thing isn't the one that was meant: another has its name by now.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.failure.code == 409)
    }

    /// Whether the next request would fail for the same reason, whatever it asks for.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_fatal(),
            Self::Ambiguous { .. }
            | Self::AmbiguousPrefix { .. }
            | Self::Unaddressable { .. }
            | Self::Held { .. }
            | Self::Exit(_)
            | Self::Told => false,
            _ => true,
        }
    }
}
