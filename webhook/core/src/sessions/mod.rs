//! Session state that every other room reads: trackers, their index and history, ended sessions
//! and the history of policies.

pub mod concurrent_sessions;
pub mod ended_records;
pub mod index;
pub mod pending_deletions;
pub mod policy_history;
pub mod tracker;

#[cfg(test)]
pub(crate) mod fixtures;

pub use index::{Index, Restored};
pub use pending_deletions::Notes;
pub use tracker::{
    AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, Ending, Key, STOPPED, Tracker,
};
