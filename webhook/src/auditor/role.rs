//! The role: read, planned, written.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::Status,
};
use mirrord_sessions_core::{
    auditor::{Difference, FIELD_MANAGER, Grants, History, Mode, Plan, ROLE, Why, apply, plan},
    text::printable,
};
use tracing::debug;

use super::Done;

/// Somebody may change the role between reading and writing; more often than this is a fight.
const ATTEMPTS: usize = 5;

/// Before it is read again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// Whether what is written is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// It is.
    Real,
    /// The API server tries it and forgets it.
    DryRun,
}

/// A round that failed.
#[derive(Debug)]
pub(super) struct RoundError {
    /// What it was about to do, to which role; nothing where the role could not be read.
    pub(super) seen: Option<Box<Done>>,
    pub(super) error: Error,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ClusterRole {ROLE} can't be read: {0}")]
    Read(#[source] kube::Error),
    #[error(
        "the API server does not let this process grant in ClusterRole {ROLE} what it doesn't hold itself: apply the manifests of this very release, which give it exactly that; {0}"
    )]
    Escalation(String),
    #[error(
        "ClusterRole {ROLE} may not be written: apply the manifests of this very release, or leave the role to somebody else with --auditor-role=report; {0}"
    )]
    Forbidden(String),
    #[error("ClusterRole {ROLE} can't be written: {0}")]
    Write(#[source] kube::Error),
    #[error("ClusterRole {ROLE} changes whenever it is about to be written")]
    Contended,
}

/// Reads the role and does what the core plans; again if the role changed in between.
pub(super) async fn round(
    roles: &Api<ClusterRole>,
    history: &History,
    mode: Mode,
    effect: Effect,
) -> Result<Done, RoundError> {
    let mut seen = None;
    let mut conflict = None;
    for _ in 0..ATTEMPTS {
        let role = roles.get_opt(ROLE).await.map_err(|error| RoundError {
            // What an earlier attempt saw is no more.
            seen: None,
            error: Error::Read(error),
        })?;
        // The API server looks at who owns fields before it looks at versions: only of what is
        // still as it was read is the conflict more than a change in between.
        if let Some((version, message)) = conflict.take()
            && version == role.as_ref().and_then(ResourceExt::resource_version)
        {
            let plan = preserve(history, role.as_ref(), message);
            return Ok(Done { plan, role });
        }
        let plan = plan(history, role.as_ref(), mode);
        let Some(document) = apply(&plan, role.as_ref()) else {
            return Ok(Done { plan, role });
        };
        let params = PatchParams {
            dry_run: effect == Effect::DryRun,
            // Never by force: a field that somebody else owns is theirs.
            ..PatchParams::apply(FIELD_MANAGER)
        };
        match roles.patch(ROLE, &params, &Patch::Apply(document)).await {
            Ok(written) => {
                return Ok(Done { plan, role: Some(written) });
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let version = role.as_ref().and_then(ResourceExt::resource_version);
                conflict = field_conflict(&status).map(|message| (version, message));
                debug!(reason = ?conflict, "a conflict about the auditor role, reading it again");
                seen = Some(Box::new(Done { plan, role }));
                tokio::time::sleep(CONFLICT_PAUSE).await;
            }
            Err(error) => {
                return Err(RoundError {
                    seen: Some(Box::new(Done { plan, role })),
                    error: refusal(error),
                });
            }
        }
    }
    Err(RoundError { seen, error: Error::Contended })
}

/// What the API server says of fields that somebody else owns; nothing if the conflict is another.
fn field_conflict(status: &Status) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    let conflicts: Vec<&str> = causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| cause.message.as_str())
        .collect();
    (!conflicts.is_empty()).then(|| printable(&conflicts.join("; "), 512))
}

/// The plan, after the API server told that the rules are somebody else's.
fn preserve(history: &History, role: Option<&ClusterRole>, message: String) -> Plan {
    let latest = history.latest();
    let actual = role.and_then(|role| role.rules.as_deref()).unwrap_or_default();
    let difference = Grants::of(actual)
        .zip(Grants::of(&history.rules(latest)))
        .map(|(actual, preset)| Difference::between(&actual, &preset));
    let is = match plan(history, role, Mode::Manage) {
        Plan::Append { from, .. } => Some(from),
        _ => None,
    };
    Plan::Preserve { why: Why::Conflict(message), is, latest, difference }
}

fn refusal(error: kube::Error) -> Error {
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
