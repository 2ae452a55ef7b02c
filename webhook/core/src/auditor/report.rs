//! The report on the role, for users and scripts.
//!
//! The leader writes it to a ConfigMap, and the plugin computes it from the role.

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde::{Deserialize, Serialize};

use super::{
    History, Mode, Plan, PreserveReason, ROLE, external_manager::external_manager, plan,
    plan::is_auto_update_off,
};

/// The state of the role, whose optional fields are absent if the role could not be read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The latest version of the preset that the reporting program knows.
    pub latest_version: u32,
    /// True if the role exists, absent if unknown.
    pub exists: Option<bool>,
    /// The version of the preset that the role equals, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// True if the rules match no release, absent if unknown.
    pub modified: Option<bool>,
    /// True if the role's annotation allows upgrades, absent if unknown.
    pub auto_update: Option<bool>,
    /// The tool or user that manages the role, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The plan `create`, `append`, `nothing` or `preserve`, or `unknown` for an unreadable role.
    pub plan: String,
    /// The plan and its reason in a sentence.
    pub message: String,
    /// The first 200 lines of the diff to the latest version, if known.
    pub difference: Option<Vec<String>>,
    /// The error of the last attempt, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The time of the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    /// The identity of the reporting replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<String>,
}

impl Report {
    /// Returns the report on a role, with the plan for the given mode.
    #[must_use]
    pub fn for_role(history: &History, role: Option<&ClusterRole>, mode: Mode) -> Self {
        Self::from_plan(history, role, &plan(history, role, mode))
    }

    /// Returns the report on a role with a plan, which may reflect a conflict on write.
    #[must_use]
    pub fn from_plan(history: &History, role: Option<&ClusterRole>, plan: &Plan) -> Self {
        let version = match plan {
            Plan::Create { .. } => None,
            Plan::Append { from, .. } => Some(*from),
            Plan::Nothing { version } => Some(*version),
            Plan::Preserve { version, .. } => *version,
        };
        let modified = match plan {
            Plan::Preserve { difference: None, .. } => None,
            Plan::Preserve { reason: PreserveReason::Newer, .. } => Some(false),
            _ => Some(role.is_some() && version.is_none()),
        };
        Self {
            latest_version: history.latest(),
            exists: Some(role.is_some()),
            version,
            modified,
            auto_update: Some(!role.is_some_and(is_auto_update_off)),
            managed_by: role
                .and_then(|role| external_manager(&role.metadata))
                .map(|manager| manager.to_string()),
            plan: plan.name().to_owned(),
            message: plan.summary(),
            difference: plan.difference().map(|difference| difference.truncated_lines()),
            ..Self::default()
        }
    }

    /// Returns the report on a role that could not be read.
    #[must_use]
    pub fn unknown(history: &History) -> Self {
        Self {
            latest_version: history.latest(),
            plan: "unknown".to_owned(),
            message: format!("unknown: ClusterRole {ROLE} could not be read"),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_on_roles() {
        let history = History::shipped();
        let absent = Report::for_role(&history, None, Mode::Manage);
        assert_eq!(
            (absent.exists, absent.modified, absent.version),
            (Some(false), Some(false), None)
        );
        assert_eq!(absent.plan, "create");
        assert_eq!(absent.difference.map(|lines| lines.len()), Some(2));

        let mut role = ClusterRole { rules: Some(history.rules(1)), ..ClusterRole::default() };
        let older = Report::for_role(&history, Some(&role), Mode::Manage);
        assert_eq!(
            (older.version, older.modified, older.auto_update),
            (Some(1), Some(false), Some(true))
        );
        assert_eq!(
            older.difference.unwrap(),
            ["+sessiontrackers.visibility.operator.metalbear.co: get, list, watch"]
        );

        role.rules = Some(Vec::new());
        let labels = [("kustomize.toolkit.fluxcd.io/name".to_owned(), "infra".to_owned())];
        role.metadata.labels = Some(labels.into());
        let flux = Report::for_role(&history, Some(&role), Mode::Manage);
        assert_eq!(flux.modified, Some(true));
        assert_eq!(flux.plan, "preserve");
        assert_eq!(
            flux.managed_by.as_deref(),
            Some("Flux (label kustomize.toolkit.fluxcd.io/name=infra)")
        );
        let read: Report = serde_json::from_value(serde_json::to_value(&flux).unwrap()).unwrap();
        assert_eq!(read, flux);
    }

    #[test]
    fn omits_unknown_fields() {
        let history = History::shipped();
        let unread = serde_json::to_value(Report::unknown(&history)).unwrap();
        for field in ["exists", "modified", "autoUpdate", "difference"] {
            assert_eq!(unread.get(field), Some(&serde_json::Value::Null), "{field}");
        }
        let read: Report = serde_json::from_value(unread).unwrap();
        assert_eq!(read, Report::unknown(&history));

        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let huge = ClusterRole {
            rules: Some(vec![k8s_openapi::api::rbac::v1::PolicyRule {
                api_groups: Some(many.clone()),
                resources: Some(many.clone()),
                verbs: many,
                ..Default::default()
            }]),
            ..ClusterRole::default()
        };
        let report = Report::for_role(&history, Some(&huge), Mode::Manage);
        assert_eq!((report.exists, report.modified, &report.difference), (Some(true), None, &None));
        assert!(report.message.contains("too many"), "{}", report.message);
    }

    #[test]
    fn limits_size_of_report() {
        let policy_rule =
            |resources: Vec<String>, verbs: Vec<String>| k8s_openapi::api::rbac::v1::PolicyRule {
                api_groups: Some(vec![String::new()]),
                resources: Some(resources),
                verbs,
                ..Default::default()
            };
        let words = |count: usize| (0..count).map(|n| format!("w{n:04}")).collect::<Vec<_>>();
        let role = ClusterRole {
            rules: Some(vec![
                policy_rule(words(300), vec!["get".into()]),
                policy_rule(vec!["a".into()], words(1000)),
            ]),
            ..ClusterRole::default()
        };
        let history = History::shipped();
        let report = Report::for_role(&history, Some(&role), Mode::Manage);
        let lines = report.difference.unwrap();
        // 300 resources, one resource with many verbs, and the missing rules.
        assert_eq!((lines.len(), lines[200].as_str()), (201, "and 103 more"));
        assert!(lines[0].starts_with("-a: w0000") && lines[0].ends_with('…'));
        assert!(lines.iter().all(|line| line.chars().count() <= 254));
        // The plan itself is not truncated.
        let text = plan(&history, Some(&role), Mode::Manage).to_string();
        assert_eq!(text.lines().count(), 3 + 303);
    }
}
