//! Tests on a real control plane with everything installed, which most of them share; a namespace
//! each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// One row a case.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)]

mod agents;
mod auditor;
mod faults;
mod guard;
mod guard_api_service;
mod guard_auditor_role;
mod identity;
mod install;
mod join;
mod kubectl;
mod plugin;
mod policies;
mod report;
mod resource;
mod resumed;
mod roles;
mod run;
mod stop_policy;
mod support;
mod terminated;
mod tracker_auth;
mod tracker_clients;
mod trackers;
