//! mirrord's agents: stamped by admission, protected by guard policies, recorded as Sessions and
//! deleted with them.

mod bounds;
mod concurrent_sessions;
mod controller_rights;
mod denied_bindings;
mod faults;
pub(crate) mod fixtures;
mod hostile_objects;
mod scale;
mod session_lifecycle;
mod stamps;
mod targets;
mod unbound_sessions;
mod weakened_guard;
mod without_trackers;
mod wrapper_sessions;
