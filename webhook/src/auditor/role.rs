//! Reading, planning and writing of the auditor role.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::Status,
};
use mirrord_sessions_core::{
    auditor::{
        Difference, FIELD_MANAGER, Grants, History, Mode, Plan, PreserveReason, ROLE, apply_patch,
        plan,
    },
    text::printable,
};
use tracing::debug;

use super::PlannedRole;
use crate::redaction::summary;

/// The maximum number of attempts if other clients keep writing the role between read and write.
const MAX_ATTEMPTS: usize = 5;

/// The delay before the role is read again after a conflict.
const CONFLICT_DELAY: Duration = Duration::from_millis(20);

/// The effect of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WriteMode {
    /// The API server persists the write.
    Persist,
    /// The API server validates the write and discards it.
    DryRun,
}

/// The error of a reconciliation.
#[derive(Debug)]
pub(super) struct ReconcileError {
    /// The plan that failed, or `None` if the role could not be read.
    pub(super) planned: Option<Box<PlannedRole>>,
    pub(super) error: Error,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ClusterRole {ROLE} can't be read: {}", summary(.0))]
    Read(#[source] kube::Error),
    #[error(
        "the API server forbids this process to grant permissions in ClusterRole {ROLE} that it doesn't hold itself: apply the manifests of this release, which grant them; {0}"
    )]
    Escalation(String),
    #[error(
        "ClusterRole {ROLE} may not be written: apply the manifests of this release, or manage the role elsewhere and set --auditor-role=report; {0}"
    )]
    Forbidden(String),
    #[error("ClusterRole {ROLE} can't be written: {0}")]
    Write(#[source] kube::Error),
    #[error("ClusterRole {ROLE} changed before each attempt to write it")]
    Contended,
}

/// Reads the role, plans and writes; repeats this if the role changed in between.
pub(super) async fn reconcile_once(
    roles: &Api<ClusterRole>,
    history: &History,
    mode: Mode,
    write_mode: WriteMode,
) -> Result<PlannedRole, ReconcileError> {
    let mut planned = None;
    let mut conflict = None;
    for _ in 0..MAX_ATTEMPTS {
        let role = roles.get_opt(ROLE).await.map_err(|error| ReconcileError {
            // The plan of an earlier attempt is outdated.
            planned: None,
            error: Error::Read(error),
        })?;
        // The API server checks field managers before resource versions. A field conflict is
        // genuine only if the role has not changed since it was read.
        if let Some((version, message)) = conflict.take()
            && version == role.as_ref().and_then(ResourceExt::resource_version)
        {
            let plan = preserve_after_conflict(history, role.as_ref(), message);
            return Ok(PlannedRole { plan, role });
        }
        let plan = plan(history, role.as_ref(), mode);
        let Some(patch) = apply_patch(&plan, role.as_ref()) else {
            return Ok(PlannedRole { plan, role });
        };
        let params = PatchParams {
            dry_run: write_mode == WriteMode::DryRun,
            // Never force: fields of other managers belong to them.
            ..PatchParams::apply(FIELD_MANAGER)
        };
        match roles.patch(ROLE, &params, &Patch::Apply(patch)).await {
            Ok(written) => {
                return Ok(PlannedRole { plan, role: Some(written) });
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let version = role.as_ref().and_then(ResourceExt::resource_version);
                conflict = field_conflict(&status).map(|message| (version, message));
                debug!(?conflict, "conflict on writing the auditor role, reading it again");
                planned = Some(Box::new(PlannedRole { plan, role }));
                tokio::time::sleep(CONFLICT_DELAY).await;
            }
            Err(error) => {
                return Err(ReconcileError {
                    planned: Some(Box::new(PlannedRole { plan, role })),
                    error: classify_write_error(error),
                });
            }
        }
    }
    Err(ReconcileError { planned, error: Error::Contended })
}

/// Returns the messages about field managers in a conflict, or `None` for other conflicts.
fn field_conflict(status: &Status) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    let conflicts: Vec<&str> = causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| cause.message.as_str())
        .collect();
    (!conflicts.is_empty()).then(|| printable(&conflicts.join("; "), 512))
}

/// Returns the plan that preserves a role whose rules another field manager owns.
fn preserve_after_conflict(history: &History, role: Option<&ClusterRole>, message: String) -> Plan {
    let latest = history.latest();
    let actual = role.and_then(|role| role.rules.as_deref()).unwrap_or_default();
    let difference = Grants::from_rules(actual)
        .zip(Grants::from_rules(&history.rules(latest)))
        .map(|(actual, preset)| Difference::between(&actual, &preset));
    let version = match plan(history, role, Mode::Manage) {
        Plan::Append { from, .. } => Some(from),
        _ => None,
    };
    Plan::Preserve { reason: PreserveReason::Conflict(message), version, latest, difference }
}

fn classify_write_error(error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if status.code == 403 => {
            let message = printable(&status.message, 1024);
            if status.message.contains("attempting to grant RBAC permissions") {
                Error::Escalation(message)
            } else {
                Error::Forbidden(message)
            }
        }
        _ => Error::Write(error),
    }
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
