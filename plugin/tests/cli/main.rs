//! The plugin as it is run: command lines against a server that answers as Kubernetes does.

// A helper that can't do its work fails the test, as the test itself would.
#![allow(clippy::unwrap_used)]

mod fake;
mod plugin;

mod connection;
mod describe;
mod errors;
mod list;
mod stop;
mod usage;
