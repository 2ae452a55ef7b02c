//! The aggregated API of session trackers: the I/O around the decisions of
//! `mirrord_sessions_core::apiserver`.

mod discovery;
pub(crate) mod front_proxy;
mod list_budget;
mod responses;
pub(crate) mod routes;
mod subresources;
mod watch_request;
pub(crate) mod watch_stream;

pub(crate) use routes::Api;
