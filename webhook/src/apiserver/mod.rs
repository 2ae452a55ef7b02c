//! The aggregated API of session trackers: the I/O around the decisions of
//! `mirrord_sessions_core::apiserver`.

mod discovery;
mod errors;
pub(crate) mod front_proxy;
mod headers;
pub(crate) mod list_budget;
mod responses;
pub(crate) mod routes;
mod subresources;
mod watch_request;
mod watch_stream;

pub(crate) use routes::Api;
