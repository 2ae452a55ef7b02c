//! Errors of the plugin, each as one line with a remedy.

mod api_error;
mod failure;
mod transport;

use std::{io, time::Duration};

use mirrord_sessions_crds::SessionId;
use thiserror::Error;

pub(crate) use api_error::shell;
pub use api_error::{ApiError, RequestInfo, Status, Verb};
pub use failure::FailureKind;
pub(crate) use transport::ProxyFailure;
pub use transport::Transport;

/// The error of a failed command. Its text is shown to the user, in kubectl's words if kubectl has
/// any.
#[derive(Debug, Error)]
pub enum Error {
    /// The command line or the kubeconfig is invalid.
    #[error("error: {0}")]
    Setup(String),
    /// Credentials cannot be obtained or used.
    #[error("error: {0}")]
    Credentials(String),
    /// The server returned an error status.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The server is unreachable, or the connection failed.
    #[error(transparent)]
    Transport(Transport),
    /// The server did not respond in time.
    #[error(
        "Unable to connect to the server: {host} did not answer within {after:?}: is it up? --request-timeout sets how long to wait"
    )]
    Timeout {
        /// The address of the server.
        host: String,
        /// The time limit of the request.
        after: Duration,
    },
    /// The response is not that of a Kubernetes API server.
    #[error(
        "error: the answer of {host} is not that of a Kubernetes API server ({what}): check the server in the kubeconfig"
    )]
    Unexpected {
        /// The address of the server.
        host: String,
        /// The error in the response.
        what: String,
    },
    /// Writing to standard output failed.
    #[error("error: cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// Several sessions have the ID.
    #[error(
        "error: there is a session \"{id}\" in more than one namespace: name one with -n ({namespaces})"
    )]
    Ambiguous {
        /// The ID that is ambiguous.
        id: SessionId,
        /// The namespaces of the sessions.
        namespaces: String,
    },
    /// Several session IDs have the prefix.
    #[error(
        "error: \"{id}\" is the beginning of more than one session ID, type more of it: {candidates}"
    )]
    AmbiguousPrefix {
        /// The prefix as typed.
        id: SessionId,
        /// The sessions with the prefix.
        candidates: String,
    },
    /// The ID of a session is also the prefix of others.
    #[error(
        "error: \"{id}\" is a session, and the beginning of other session IDs: type more of an ID, or \"session/{name}\" for the one of that name: {candidates}",
        name = id.name()
    )]
    AmbiguousName {
        /// The ID as typed.
        id: SessionId,
        /// The sessions with the ID or the prefix.
        candidates: String,
    },
    /// The session of mirrord's operator has no ID to address it by.
    #[error("error: session \"{id}\" of mirrord's operator has no ID that it could be stopped by")]
    Unaddressable {
        /// The text shown instead of an ID.
        id: SessionId,
    },
    /// The session is marked for deletion, and finalizers block it.
    #[error(
        "error: session \"{id}\" in namespace \"{namespace}\" is marked for deletion and blocked by its finalizers ({finalizers}): the client that set them must remove them"
    )]
    Held {
        /// The ID of the session.
        id: SessionId,
        /// The namespace of the session.
        namespace: String,
        /// The finalizers of the session.
        finalizers: String,
    },
    /// The exit code of a wrapped command, or of a command that could not be run; errors are
    /// reported already.
    #[error("error: exit code {0}")]
    Exit(u8),
    /// The command failed, and its errors are reported already.
    #[error("error: some operations failed")]
    Reported,
}

impl Error {
    /// Creates an error of the command line or the kubeconfig.
    pub fn setup(message: impl Into<String>) -> Self {
        Self::Setup(message.into())
    }

    /// Creates an error about credentials.
    pub(crate) fn credentials(message: impl Into<String>) -> Self {
        Self::Credentials(message.into())
    }

    /// Returns whether the credentials are the cause: they cannot be obtained, or are rejected.
    #[must_use]
    pub fn is_of_credentials(&self) -> bool {
        match self {
            Self::Credentials(_) => true,
            Self::Api(api_error) => api_error.is_unauthenticated(),
            _ => false,
        }
    }

    /// Returns the error status of the server, if this is one.
    #[must_use]
    pub fn api_error(&self) -> Option<&ApiError> {
        match self {
            Self::Api(api_error) => Some(api_error),
            _ => None,
        }
    }

    /// Returns whether an object of that name exists already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.api_error().is_some_and(ApiError::already_exists)
    }

    /// Returns whether the object is missing on a server that serves the resource.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.api_error().is_some_and(ApiError::is_not_found)
    }

    /// Returns whether a precondition failed: another object has the name now.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.api_error().is_some_and(|api_error| api_error.status.code == 409)
    }

    /// Returns whether every further request would fail in the same way.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Api(api_error) => api_error.is_fatal(),
            Self::Ambiguous { .. }
            | Self::AmbiguousPrefix { .. }
            | Self::AmbiguousName { .. }
            | Self::Unaddressable { .. }
            | Self::Held { .. }
            | Self::Exit(_)
            | Self::Reported => false,
            _ => true,
        }
    }
}
