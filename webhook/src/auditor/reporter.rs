//! Publishing of the result of a reconciliation: a log message, a metric, an Event and a report.

use k8s_openapi::{
    api::core::v1::{ConfigMap, ObjectReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use mirrord_sessions_core::{
    auditor::{self, History, Mode, Plan, PreserveReason, REPORT, ROLE, Report},
    text::printable,
};
use serde_json::json;
use tracing::{error, info, warn};

use super::{PlannedRole, ReconcileError};
use crate::{args::Args, events::EventPublisher, metrics::Metrics};

/// The maximum length of an error of the API server in messages.
const MAX_ERROR: usize = 2048;

/// The reason of an Event about a preserved role.
const PRESERVED: &str = "AuditorRolePreserved";

/// Publishes results of reconciliations.
pub(super) struct Reporter<'a> {
    client: Client,
    namespace: &'a str,
    events: EventPublisher<'a>,
    identity: String,
    metrics: &'a Metrics,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(
        client: Client,
        args: &'a Args,
        identity: &str,
        metrics: &'a Metrics,
    ) -> Self {
        Self {
            events: EventPublisher::new(client.clone(), &args.pod_name),
            client,
            namespace: &args.namespace,
            identity: identity.to_owned(),
            metrics,
        }
    }

    /// Reports that the plan was carried out.
    pub(super) async fn report_success(
        &self,
        history: &History,
        mode: Mode,
        planned: &PlannedRole,
    ) {
        let PlannedRole { plan, role } = planned;
        let summary = plan.summary();
        // After a write, report the plan for the role as it is now.
        let current = match plan {
            Plan::Create { .. } | Plan::Append { .. } => {
                &auditor::plan(history, role.as_ref(), mode)
            }
            _ => plan,
        };
        let report = Report::from_plan(history, role.as_ref(), current, mode);
        let (outcome, event) = match plan {
            Plan::Create { .. } => ("created", Some((EventType::Normal, "AuditorRoleCreated"))),
            Plan::Append { .. } => ("upgraded", Some((EventType::Normal, "AuditorRoleUpgraded"))),
            Plan::Nothing { .. } => ("current", None),
            // A preserved role with the permissions of the preset needs no attention.
            Plan::Preserve { difference: Some(difference), .. } if difference.is_empty() => {
                ("preserved", None)
            }
            // With --auditor-role=upgrade-only, a role may be deleted on purpose.
            Plan::Preserve { reason: PreserveReason::Absent, .. } => {
                ("preserved", Some((EventType::Normal, PRESERVED)))
            }
            Plan::Preserve { .. } => ("preserved", Some((EventType::Warning, PRESERVED))),
        };
        if matches!(event, Some((EventType::Warning, _))) {
            let difference = report.difference.as_deref().unwrap_or_default();
            warn!(role = ROLE, outcome, ?difference, "{summary}");
        } else {
            info!(role = ROLE, outcome, "{summary}");
        }
        self.metrics.auditor(outcome, current.difference().as_ref());
        if let Some((kind, reason)) = event {
            let reference = role.as_ref().map(|role| role.object_ref(&()));
            self.publish_event(reference, kind, reason, &plan.to_string()).await;
        }
        self.write_report(report).await;
    }

    /// Counts a failure, including repetitions of the same error.
    pub(super) fn count_failure(&self, failure: &ReconcileError) {
        let planned = failure.planned.as_ref();
        let difference = planned.and_then(|planned| planned.plan.difference());
        self.metrics.auditor("failed", difference.as_ref());
    }

    /// Reports that the role could not be read or written.
    pub(super) async fn report_failure(
        &self,
        history: &History,
        mode: Mode,
        failure: &ReconcileError,
    ) {
        let message = printable(&failure.error.to_string(), MAX_ERROR);
        error!(role = ROLE, error = %message, "failed to reconcile the auditor role, retrying");
        let report = match failure.planned.as_deref() {
            Some(PlannedRole { plan, role }) => {
                Report::from_plan(history, role.as_ref(), plan, mode)
            }
            None => Report::unknown(history),
        };
        self.publish_event(None, EventType::Warning, "AuditorRoleFailed", &message).await;
        self.write_report(Report { error: Some(message), ..report }).await;
    }

    /// Publishes an Event about the role.
    ///
    /// Events about cluster-scoped objects go to the namespace `default`.
    async fn publish_event(
        &self,
        reference: Option<ObjectReference>,
        kind: EventType,
        reason: &str,
        note: &str,
    ) {
        let reference = reference.unwrap_or_else(|| ObjectReference {
            api_version: Some("rbac.authorization.k8s.io/v1".into()),
            kind: Some("ClusterRole".into()),
            name: Some(ROLE.into()),
            ..ObjectReference::default()
        });
        self.events.publish(&reference, kind, reason, note.trim_end()).await;
    }

    /// Writes the report to the ConfigMap, which the manifests create without data.
    async fn write_report(&self, report: Report) {
        let report = Report {
            observed_at: Some(Timestamp::now().to_string()),
            reported_by: Some(self.identity.clone()),
            ..report
        };
        let Ok(text) = serde_json::to_string_pretty(&report) else {
            return;
        };
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        let patch = json!({ "data": { "report.json": text + "\n" } });
        let result = config_maps.patch(REPORT, &PatchParams::default(), &Patch::Merge(patch)).await;
        if let Err(error) = result {
            warn!(%error, config_map = REPORT, "failed to write the report");
        }
    }
}
