//! Conversions of errors of the session store to API errors.

use mirrord_sessions_core::apiserver::ApiError;

use crate::sessions::{session_writer::WriteError, store::NotReady};

impl From<NotReady> for ApiError {
    fn from(error: NotReady) -> Self {
        match error {
            NotReady::Version(error) => error.into(),
            NotReady::Policies | NotReady::Sessions => Self::not_ready(&error.to_string()),
        }
    }
}

/// Returns the API error for a failed write of the Session `name`.
pub(super) fn write_error(error: WriteError, name: &str) -> ApiError {
    match error {
        WriteError::NotFound => ApiError::tracker_not_found(name),
        WriteError::Busy => ApiError::not_ready(&error.to_string()),
        WriteError::Failed => ApiError::internal(&error.to_string()),
    }
}
