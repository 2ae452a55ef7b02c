//! Session state that every other room reads: trackers, their index and history, ended sessions
//! and the history of policies.

pub mod concurrent_sessions;
pub mod ended_session_records;
pub mod index;
pub mod pending_deletions;
pub mod policy_history;
pub mod report_rates;
pub mod tracker;

#[cfg(test)]
pub(crate) mod fixtures;

pub use index::{HistoryExpired, Index, RestoreOutcome, Snapshot, VersionNotReached};
pub use pending_deletions::PendingDeletions;
pub use policy_history::PolicyHistory;
pub use report_rates::ReportRates;
pub use tracker::{
    AGENT_ANNOTATION, AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, Ending, STOPPED,
    Tracker, TrackerKey,
};
