//! The parts of the command `run`, which runs a command with a session of its own.

pub(crate) mod child;
pub(crate) mod config;
pub(crate) mod ending;
mod failures;
pub(crate) mod heartbeat;
pub(crate) mod monitor;
pub(crate) mod process_tree;
mod script;
pub(crate) mod settings;
pub(crate) mod watch;
pub(crate) mod wrapped;

pub(crate) use settings::{is_key, target};
