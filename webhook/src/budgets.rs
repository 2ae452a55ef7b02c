//! The memory budgets of a replica, added up.

use std::fmt::Write;

use mirrord_sessions_core::{
    controller::CACHE_BUDGET,
    sessions::{
        index::{HISTORY_BUDGET, TRACKER_BUDGET},
        pending_deletions, report_rates,
    },
};

use crate::{
    apiserver::list_budget,
    server::{self, body},
    sessions::{ended_sessions, join_rights, policy_watch},
};

/// The memory limit of the container in `manifests/base/deployment.yaml`.
const LIMIT: usize = 256 << 20;

/// A part of the memory of a replica.
struct Budget {
    what: &'static str,
    over: &'static str,
    bytes: usize,
}

const fn budget(what: &'static str, over: &'static str, bytes: usize) -> Budget {
    Budget { what, over, bytes }
}

/// Memory of a parsed policy in relation to its JSON, and of the replaced sets beside it.
const POLICY_FACTOR: usize = 16;

/// The worst case of everything that users and strangers can make large or many.
const BUDGETS: [Budget; 13] = [
    budget("process without load", "–", 12 << 20),
    budget("trackers", "ended ones are dropped, others shortened or left out", TRACKER_BUDGET),
    budget("list of Sessions in progress", "trackers are shortened or left out", TRACKER_BUDGET),
    budget("history of changes", "slow watches list again", HISTORY_BUDGET),
    budget("reasons of deletions", "the reason is shown as `deleted`", pending_deletions::BUDGET),
    budget("rates of reports", "a report gets 429", report_rates::BUDGET),
    budget(
        "lists that are sent",
        "a list waits, then gets 429",
        (list_budget::BUDGET as usize) << 10,
    ),
    budget(
        "records that wait to be written",
        "the oldest are not stored",
        ended_sessions::QUEUE_BUDGET,
    ),
    budget(
        "policies",
        "the policy hides every session",
        POLICY_FACTOR * policy_watch::POLICIES_BUDGET,
    ),
    budget("reviews of join rights", "the oldest are repeated", join_rights::CACHE_BUDGET),
    budget("agents, Pods and Sessions of the leader", "objects are ignored", CACHE_BUDGET),
    budget("bodies and their parsing", "a body waits, then gets 408 or 429", body::BUDGET),
    budget("connections", "the oldest idle one is closed", server::CONNECTION_BUDGET),
];

fn mebibytes(bytes: usize) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

#[test]
fn budgets_fit_into_memory_limit() {
    let sum: usize = BUDGETS.iter().map(|budget| budget.bytes).sum();
    assert!(sum <= LIMIT, "{}", mebibytes(sum));
    let manifest = include_str!("../../manifests/base/deployment.yaml");
    assert!(manifest.contains("memory: 256Mi"));
}

#[test]
fn documentation_lists_budgets() {
    let document = include_str!("../../docs/design/budgets.md");
    let sum: usize = BUDGETS.iter().map(|budget| budget.bytes).sum();
    let mut table = String::from("| what | over the budget | budget |\n|---|---|---|\n");
    for Budget { what, over, bytes } in BUDGETS {
        writeln!(table, "| {what} | {over} | {} |", mebibytes(bytes)).unwrap();
    }
    writeln!(table, "| sum | | {} |", mebibytes(sum)).unwrap();
    assert!(document.contains(&table), "docs/design/budgets.md must contain:\n{table}");
}
