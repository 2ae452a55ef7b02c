//! The state of the role, for people and scripts: the leader writes it to a ConfigMap, and the plugin
//! makes it from the role itself.

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde::{Deserialize, Serialize};

use super::{History, Mode, Plan, Why, manager::manager, plan, plan::is_auto_update_off};

/// What there is to know about the role.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The latest version of the preset that whoever reports knows.
    pub latest_version: u32,
    /// Whether there is a role.
    pub exists: bool,
    /// Which version of the preset it grants; none if it is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether it grants what no release shipped.
    pub modified: bool,
    /// Whether it may be upgraded, as its annotation has it.
    pub auto_update: bool,
    /// Who looks after it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// What was, or would be, done: `create`, `append`, `nothing` or `preserve`.
    pub plan: String,
    /// The same in a sentence.
    pub message: String,
    /// How it differs from the latest version: a diff, line by line.
    pub difference: Vec<String>,
    /// What went wrong, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When this was so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    /// Which replica reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<String>,
}

impl Report {
    /// The state of a role, and what is to be done about it.
    #[must_use]
    pub fn of(history: &History, role: Option<&ClusterRole>, mode: Mode) -> Self {
        Self::with(history, role, &plan(history, role, mode))
    }

    /// The state of a role for which something else was found out than `plan` can.
    #[must_use]
    pub fn with(history: &History, role: Option<&ClusterRole>, plan: &Plan) -> Self {
        let version = match plan {
            Plan::Create { .. } => None,
            Plan::Append { from, .. } => Some(*from),
            Plan::Nothing { version } => Some(*version),
            Plan::Preserve { is, .. } => *is,
        };
        let text = plan.to_string();
        let mut lines = text.lines().map(ToOwned::to_owned);
        Self {
            latest_version: history.latest(),
            exists: role.is_some(),
            version,
            modified: role.is_some() && version.is_none() && !is_known_otherwise(plan),
            auto_update: !role.is_some_and(is_auto_update_off),
            managed_by: role
                .and_then(|role| manager(&role.metadata))
                .map(|manager| manager.to_string()),
            plan: plan.word().to_owned(),
            message: lines.next().unwrap_or_default(),
            // After the two lines of its header.
            difference: lines.skip(2).collect(),
            ..Self::default()
        }
    }
}

/// Whether it is no version that is known here for another reason than that somebody changed it.
fn is_known_otherwise(plan: &Plan) -> bool {
    let Plan::Preserve { why, .. } = plan else {
        return false;
    };
    matches!(why, Why::Newer | Why::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_roles() {
        let history = History::shipped();
        let absent = Report::of(&history, None, Mode::Manage);
        assert_eq!(
            (absent.exists, absent.modified, absent.version),
            (false, false, None)
        );
        assert_eq!(absent.plan, "create");
        assert_eq!(absent.difference.len(), 2);

        let mut role = ClusterRole {
            rules: Some(history.rules(1)),
            ..ClusterRole::default()
        };
        let older = Report::of(&history, Some(&role), Mode::Manage);
        assert_eq!(
            (older.version, older.modified, older.auto_update),
            (Some(1), false, true)
        );
        assert_eq!(
            older.difference,
            ["+sessiontrackers.visibility.operator.metalbear.co: get, list, watch"]
        );

        role.rules = Some(Vec::new());
        let labels = [(
            "kustomize.toolkit.fluxcd.io/name".to_owned(),
            "infra".to_owned(),
        )];
        role.metadata.labels = Some(labels.into());
        let flux = Report::of(&history, Some(&role), Mode::Manage);
        assert!(flux.modified);
        assert_eq!(flux.plan, "preserve");
        assert_eq!(
            flux.managed_by.as_deref(),
            Some("Flux (label kustomize.toolkit.fluxcd.io/name=infra)")
        );
        let read: Report = serde_json::from_value(serde_json::to_value(&flux).unwrap()).unwrap();
        assert_eq!(read, flux);
    }
}
