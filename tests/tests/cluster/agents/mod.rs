//! mirrord's agents: stamped by admission, guarded without it, recorded as Sessions, and stopped
//! with them.

mod faults;
mod neighbours;
mod scale;
mod sessions;
pub(crate) mod stage;
mod stamps;
mod targets;
mod trackerless;
mod untied;
mod wrapped;
