//! Reconciliation of the auditor role while this replica leads.
//!
//! 1. [`role`] reads the role, plans with the core, and applies the plan.
//! 2. [`reporter`] publishes the result as a log message, a metric, an Event and a report.
//! 3. A failure is retried with backoff until the role is in place or belongs to another manager.

mod reporter;
mod role;

use std::{io::Write, time::Duration};

use anyhow::anyhow;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use mirrord_sessions_core::auditor::{History, Mode, Plan};

use crate::{
    args::{Args, AuditorRole},
    metrics::Metrics,
};
use reporter::Reporter;
use role::{ReconcileError, WriteMode};

/// The backoff after a failure, which doubles with each further failure up to the maximum.
///
/// The usual cause is a missing permission, which lasts until a user applies manifests.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// The plan for the role, which has been carried out or is about to be.
#[derive(Debug)]
struct PlannedRole {
    plan: Plan,
    /// The role as last read or written, or `None` if it does not exist.
    role: Option<ClusterRole>,
}

/// Reconciles the role once for each time that this replica becomes the leader.
pub(crate) async fn reconcile(client: &Client, args: &Args, identity: &str, metrics: &Metrics) {
    let (Some(mode), Ok(history)) = (mode(args), history(args)) else {
        return;
    };
    let reporter = Reporter::new(client.clone(), args, identity, metrics);
    reconcile_until_success(client, &history, mode, &reporter).await;
}

async fn reconcile_until_success(
    client: &Client,
    history: &History,
    mode: Mode,
    reporter: &Reporter<'_>,
) {
    let roles = Api::all(client.clone());
    let mut backoff = INITIAL_BACKOFF;
    let mut last_error = String::new();
    loop {
        match role::reconcile_once(&roles, history, mode, WriteMode::Persist).await {
            Ok(planned) => return reporter.report_success(history, mode, &planned).await,
            Err(failure) => {
                reporter.count_failure(&failure);
                // Report each error once.
                let error = failure.error.to_string();
                if last_error != error {
                    reporter.report_failure(history, mode, &failure).await;
                    last_error = error;
                }
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Prints the plan after a dry run of its write.
///
/// The dry run in the API server reveals conflicts and missing permissions.
pub(crate) async fn dry_run(client: &Client, args: &Args) -> anyhow::Result<()> {
    let history = history(args)?;
    let Some(mode) = mode(args) else {
        return Ok(());
    };
    let roles = Api::all(client.clone());
    let result = role::reconcile_once(&roles, &history, mode, WriteMode::DryRun).await;
    let (plan, error) = match result {
        Ok(planned) => (Some(planned.plan), None),
        Err(ReconcileError { planned, error }) => {
            (planned.map(|planned| planned.plan), Some(error))
        }
    };
    if let Some(plan) = plan {
        write!(std::io::stdout(), "{plan}")
            .map_err(|error| anyhow!("failed to print the plan: {error}"))?;
    }
    error.map_or(Ok(()), |error| Err(error.into()))
}

/// Rejects arguments that contradict each other, before anything else is done.
pub(crate) fn validate(args: &Args) -> anyhow::Result<()> {
    if args.dry_run && mode(args).is_none() {
        anyhow::bail!(
            "--auditor-role=off does nothing to the auditor role: there is nothing to try"
        );
    }
    history(args).map(drop)
}

/// Returns the history of the preset up to the version of the command line.
fn history(args: &Args) -> anyhow::Result<History> {
    let history = History::shipped();
    Ok(match args.auditor_preset_version {
        Some(version) => {
            history.up_to(version).map_err(|error| anyhow!("--auditor-preset-version: {error}"))?
        }
        None => history,
    })
}

fn mode(args: &Args) -> Option<Mode> {
    match args.auditor_role {
        AuditorRole::Manage => Some(Mode::Manage),
        AuditorRole::UpgradeOnly => Some(Mode::UpgradeOnly),
        AuditorRole::Report => Some(Mode::Report),
        AuditorRole::Off => None,
    }
}
