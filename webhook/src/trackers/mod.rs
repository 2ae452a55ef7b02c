//! The aggregated API of session trackers: the I/O around what `mirrord-sessions-core` decides.

mod answer;
mod answers;
pub(crate) mod auth;
mod created;
mod documents;
mod feed;
mod records;
mod reviews;
mod rights;
pub(crate) mod routes;
mod sessions;
mod store;
mod stream;
mod watches;

pub(crate) use feed::Feed;
pub(crate) use records::Records;
pub(crate) use routes::Api;
pub(crate) use store::Store;

#[cfg(test)]
pub(crate) use rights::tests::api_server;
