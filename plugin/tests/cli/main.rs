//! The plugin as a process against a server that responds like Kubernetes.

// A helper that fails must fail the test.
#![allow(clippy::unwrap_used)]

mod fake;
mod plugin;

mod auditor;
mod completion;
#[cfg(unix)]
mod completion_shells;
mod confirmation;
mod connection;
#[cfg(unix)]
mod credentials;
mod describe;
mod errors;
mod formats;
mod join;
mod kill_all;
mod list;
mod operator;
mod operator_responses;
mod policy;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod run_ending;
#[cfg(target_os = "linux")]
mod run_terminal;
mod status;
mod stop;
mod top;
#[cfg(target_os = "linux")]
mod top_terminal;
mod trackers;
mod usage;
mod warnings;
