//! A command with a session of its own: what `run` consists of.

pub(crate) mod child;
pub(crate) mod config;
pub(crate) mod ending;
pub(crate) mod keep;
pub(crate) mod kin;
pub(crate) mod monitor;
pub(crate) mod settings;
pub(crate) mod watch;
pub(crate) mod wrapped;

pub(crate) use settings::{is_key, target};
