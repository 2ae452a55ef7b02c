//! Looks after the auditor role while this replica leads: read → the core's plan → carry out →
//! tell.

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
use role::{Effect, RoundError};

/// After a failure, the next try; doubled each time, up to the longest. What fails here is a
/// missing right more often than not, and then it takes somebody who applies manifests.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// What became of the role, or was about to.
#[derive(Debug)]
struct Done {
    /// What was to be done.
    plan: Plan,
    /// The role as it was seen last.
    role: Option<ClusterRole>,
}

/// Sees to the role, once for each time that this replica begins to lead.
pub(crate) async fn reconcile(client: &Client, args: &Args, identity: &str, metrics: &Metrics) {
    let (Some(mode), Ok(history)) = (mode(args), history(args)) else {
        return;
    };
    let reporter = Reporter::new(client.clone(), args, identity, metrics);
    see_to_it(client, &history, mode, &reporter).await;
}

/// Goes on until the role is as it should be, or is somebody else's.
async fn see_to_it(client: &Client, history: &History, mode: Mode, reporter: &Reporter<'_>) {
    let roles = Api::all(client.clone());
    let mut retry = FIRST_RETRY;
    let mut told = String::new();
    loop {
        match role::round(&roles, history, mode, Effect::Real).await {
            Ok(done) => return reporter.done(history, mode, &done).await,
            Err(failed) => {
                reporter.count(&failed);
                // Told once for each reason.
                let text = failed.error.to_string();
                if told != text {
                    reporter.failed(history, &failed).await;
                    told = text;
                }
            }
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LONGEST_RETRY);
    }
}

/// Prints what would be done. The API server tries it, so that a conflict or a missing right shows
/// too.
pub(crate) async fn dry_run(client: &Client, args: &Args) -> anyhow::Result<()> {
    let history = history(args)?;
    let Some(mode) = mode(args) else {
        return Ok(());
    };
    let tried = role::round(&Api::all(client.clone()), &history, mode, Effect::DryRun).await;
    let (plan, error) = match tried {
        Ok(done) => (Some(done.plan), None),
        Err(RoundError { seen, error }) => (seen.map(|seen| seen.plan), Some(error)),
    };
    if let Some(plan) = plan {
        write!(std::io::stdout(), "{plan}")
            .map_err(|error| anyhow!("the plan can't be written: {error}"))?;
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
