//! Tests on a real control plane with everything installed, which most of them share; a namespace
//! each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// One row a case.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)]

mod agents;
mod auditor;
mod delete_policies;
mod ended_sessions;
mod faults;
mod guard;
mod identity;
mod install;
mod join;
mod kubectl;
mod plugin;
mod plugin_run;
mod policies;
mod rbac;
mod resumed_watches;
mod session_reports;
mod session_resource;
mod support;
mod tracker_auth;
mod tracker_clients;
mod trackers;
