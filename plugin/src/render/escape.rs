//! Escaping of text from the cluster for terminals.

pub use mirrord_sessions_core::text::{is_unsafe, visible};
