//! Session state of the process: the store, the watches that fill it, ended sessions and writes to
//! Sessions.

mod earlier_records;
mod ended_session_record;
pub(crate) mod ended_sessions;
pub(crate) mod join_rights;
pub(crate) mod policy_watch;
pub(crate) mod session_watch;
pub(crate) mod session_writer;
pub(crate) mod store;
pub(crate) mod targets;

pub(crate) use ended_sessions::EndedSessionStore;
pub(crate) use session_watch::SessionWatch;
pub(crate) use store::Store;
