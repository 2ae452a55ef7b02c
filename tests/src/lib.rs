//! Test library shared by cluster tests, benchmarks and the demo of mirrord-sessions.

pub mod agents;
pub mod cluster;
pub mod control_plane;
pub mod demo;
