//! Pure decisions of mirrord-sessions.
//!
//! Everything here is a synchronous function over values, `(input, view, requester, now) ->
//! decision`: no Kubernetes client, no runtime, no clock. The process in `webhook/` reads the
//! inputs, calls these functions, and carries out the decisions.

pub mod admission;
pub mod agents;
pub mod apiserver;
pub mod auditor;
pub mod controller;
pub mod guard;
pub mod identity;
pub mod leader_election;
pub mod policy;
pub mod server;
pub mod sessions;
pub mod text;
pub mod where_clause;
