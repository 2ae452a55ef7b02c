//! mirrord's agents: stamped by admission, guarded without it, recorded as Sessions, and stopped
//! with them.

mod concurrent_sessions;
mod faults;
pub(crate) mod fixtures;
mod scale;
mod session_lifecycle;
mod stamps;
mod targets;
mod unbound_sessions;
mod without_trackers;
mod wrapper_sessions;
