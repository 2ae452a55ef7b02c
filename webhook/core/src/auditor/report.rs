//! The report on the role, for users and scripts.
//!
//! The leader writes it to a ConfigMap, and the plugin computes it from the role.

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde::{Deserialize, Serialize};

use super::{
    History, Mode, Plan, PreserveReason, ROLE, external_manager::external_manager, plan,
    plan::upgrade_blocker,
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
    /// True if later versions of the preset would be written, absent if unknown.
    pub auto_update: Option<bool>,
    /// The reason why later versions would not be written, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_reason: Option<String>,
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
        Self::from_plan(history, role, &plan(history, role, mode), mode)
    }

    /// Returns the report on a role with a plan, which may reflect a conflict on write.
    #[must_use]
    pub fn from_plan(
        history: &History,
        role: Option<&ClusterRole>,
        plan: &Plan,
        mode: Mode,
    ) -> Self {
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
        let preserve_reason = preserve_reason(role, plan, mode);
        Self {
            latest_version: history.latest(),
            exists: Some(role.is_some()),
            version,
            modified,
            auto_update: Some(preserve_reason.is_none()),
            preserve_reason: preserve_reason.map(|reason| reason.to_string()),
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

/// Returns the reason why later versions of the preset would not be written to the role.
///
/// A role of the latest version needs no write now, and may still be closed to later ones.
fn preserve_reason(role: Option<&ClusterRole>, plan: &Plan, mode: Mode) -> Option<PreserveReason> {
    match plan {
        Plan::Preserve { reason, .. } => Some(reason.clone()),
        Plan::Create { .. } | Plan::Append { .. } => None,
        Plan::Nothing { .. } => role
            .and_then(upgrade_blocker)
            .or_else(|| (mode == Mode::Report).then_some(PreserveReason::ReportOnly)),
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
    fn preserved_roles_have_no_automatic_updates() {
        let history = History::shipped();
        let latest = history.latest();
        let role = |version: u32| ClusterRole {
            rules: Some(history.rules(version)),
            ..ClusterRole::default()
        };
        let managed = |version: u32| {
            let mut role = role(version);
            role.metadata.annotations =
                Some([("meta.helm.sh/release-name".to_owned(), "x".to_owned())].into());
            role
        };
        let modified = ClusterRole { rules: Some(Vec::new()), ..ClusterRole::default() };
        let (helm, report) = (Some("managed by Helm"), Some("--auditor-role=report"));
        for (case, role, mode, expected) in [
            ("old", Some(role(1)), Mode::Manage, None),
            ("latest", Some(role(latest)), Mode::Manage, None),
            ("absent", None, Mode::Manage, None),
            ("old, managed", Some(managed(1)), Mode::Manage, helm),
            ("latest, managed", Some(managed(latest)), Mode::Manage, helm),
            ("modified", Some(modified), Mode::Manage, Some("it was modified")),
            ("old, report only", Some(role(1)), Mode::Report, report),
            ("latest, report only", Some(role(latest)), Mode::Report, report),
            ("absent, report only", None, Mode::Report, report),
            ("absent, upgrade only", None, Mode::UpgradeOnly, Some("it does not exist")),
        ] {
            let report = Report::for_role(&history, role.as_ref(), mode);
            assert_eq!(report.auto_update, Some(expected.is_none()), "{case}");
            let reason = report.preserve_reason.as_deref();
            match expected {
                None => assert_eq!(reason, None, "{case}"),
                Some(expected) => {
                    assert!(reason.is_some_and(|reason| reason.contains(expected)), "{case}");
                }
            }
        }
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
