//! The aggregated API of session trackers, without its I/O: what a request asks for, what the index
//! holds, and the bytes of the answer.

pub mod accept;
pub mod age;
pub mod decided;
pub mod discovery;
pub mod failure;
pub mod fields;
pub mod filter;
pub mod front_proxy;
pub mod index;
pub mod join;
pub mod labels;
pub mod notes;
pub mod openapi;
pub mod options;
pub mod page;
pub mod records;
pub mod render;
pub mod report;
mod sent;
pub mod tracker;
pub mod watch;

#[cfg(test)]
pub(crate) mod fixtures;

pub use failure::Failure;
pub use index::{Index, Restored};
pub use notes::Notes;
pub use report::Pace;
pub use sent::Subresource;
pub use tracker::{
    AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, Ending, Key, STOPPED, Tracker,
};
