//! Tests against a real control plane with a full installation.
//!
//! Most tests share one cluster and use a namespace of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Tables of cases are long.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)]

mod agents;
mod auditor;
mod confidentiality;
mod delete_policies;
mod ended_sessions;
mod faults;
mod guard;
mod identity;
mod install;
mod join;
mod kubectl;
mod memory;
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
