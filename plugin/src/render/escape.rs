//! Text from the cluster, made harmless for a terminal.

pub use mirrord_sessions_core::text::{is_unsafe, visible};
