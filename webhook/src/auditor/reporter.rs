//! Tells what became of the role: a log line, a metric, an Event, a report.

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
    auditor::{self, History, Mode, Plan, REPORT, ROLE, Report, Why},
    text::printable,
};
use serde_json::json;
use tracing::{error, info, warn};

use super::{Done, RoundError};
use crate::{args::Args, events::EventPublisher, metrics::Metrics};

/// How much of what the API server says of a failure is told.
const MAX_ERROR: usize = 2048;

/// The reason of an Event about a role that is left alone.
const PRESERVED: &str = "AuditorRolePreserved";

/// Who tells.
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

    /// The role is as it should be, or left alone.
    pub(super) async fn done(&self, history: &History, mode: Mode, done: &Done) {
        let Done { plan, role } = done;
        let summary = plan.summary();
        // As it is now.
        let is = match plan {
            Plan::Create { .. } | Plan::Append { .. } => {
                &auditor::plan(history, role.as_ref(), mode)
            }
            _ => plan,
        };
        let report = Report::with(history, role.as_ref(), is);
        let (outcome, event) = match plan {
            Plan::Create { .. } => ("created", Some((EventType::Normal, "AuditorRoleCreated"))),
            Plan::Append { .. } => ("upgraded", Some((EventType::Normal, "AuditorRoleUpgraded"))),
            Plan::Nothing { .. } => ("current", None),
            // One that somebody keeps and that grants the same is nothing to look at.
            Plan::Preserve { difference: Some(difference), .. } if difference.is_empty() => {
                ("preserved", None)
            }
            // Deleted on purpose, as the command line has it.
            Plan::Preserve { why: Why::Absent, .. } => {
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
        self.metrics.auditor(outcome, is.difference().as_ref());
        if let Some((kind, reason)) = event {
            let about = role.as_ref().map(|role| role.object_ref(&()));
            self.publish(about, kind, reason, &plan.to_string()).await;
        }
        self.report(report).await;
    }

    /// The role could not be read or written, for the first time or once more.
    pub(super) fn count(&self, failed: &RoundError) {
        let difference = failed.seen.as_ref().and_then(|seen| seen.plan.difference());
        self.metrics.auditor("failed", difference.as_ref());
    }

    /// The role could not be read or written.
    pub(super) async fn failed(&self, history: &History, failed: &RoundError) {
        let message = printable(&failed.error.to_string(), MAX_ERROR);
        error!(role = ROLE, error = %message, "the auditor role is not in place");
        let report = match failed.seen.as_deref() {
            Some(Done { plan, role }) => Report::with(history, role.as_ref(), plan),
            None => Report::unknown(history),
        };
        self.publish(None, EventType::Warning, "AuditorRoleFailed", &message).await;
        self.report(Report { error: Some(message), ..report }).await;
    }

    /// Events about what has no namespace are in `default`.
    async fn publish(
        &self,
        about: Option<ObjectReference>,
        kind: EventType,
        reason: &str,
        note: &str,
    ) {
        let about = about.unwrap_or_else(|| ObjectReference {
            api_version: Some("rbac.authorization.k8s.io/v1".into()),
            kind: Some("ClusterRole".into()),
            name: Some(ROLE.into()),
            ..ObjectReference::default()
        });
        self.events.publish(&about, kind, reason, note.trim_end()).await;
    }

    /// Into the ConfigMap that comes with the manifests, empty.
    async fn report(&self, report: Report) {
        let report = Report {
            observed_at: Some(Timestamp::now().to_string()),
            reported_by: Some(self.identity.clone()),
            ..report
        };
        let Ok(text) = serde_json::to_string_pretty(&report) else {
            return;
        };
        let reports: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        let patch = json!({ "data": { "report.json": text + "\n" } });
        let written = reports.patch(REPORT, &PatchParams::default(), &Patch::Merge(patch)).await;
        if let Err(error) = written {
            warn!(%error, config_map = REPORT, "the report could not be written");
        }
    }
}
