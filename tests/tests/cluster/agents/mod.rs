//! mirrord's agents: stamped by admission, guarded without it, recorded as Sessions, and stopped with
//! them.

mod stamps;
