//! Fairness of the server between its peers: connections, memory of bodies, and transfer rates.
//!
//! The server can't authenticate an API server that posts a review. It may even see an API server
//! and a hostile client at the same address, behind a NAT or a tunnel. Each decision therefore
//! prefers recent and quick work over old and slow work, within a peer and between peers: a new
//! connection or a new body always finds room.

pub mod body_budget;
pub mod connections;
mod peer;
pub mod transfer_rate;

pub use peer::Peer;
