//! The state of the role, for people and scripts: the leader writes it to a ConfigMap, and the
//! plugin makes it from the role itself.

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde::{Deserialize, Serialize};

use super::{History, Mode, Plan, ROLE, Why, manager::manager, plan, plan::is_auto_update_off};

/// What there is to know about the role. Of one that could not be read, nothing is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The latest version of the preset that whoever reports knows.
    pub latest_version: u32,
    /// Whether there is a role, if that is known.
    pub exists: Option<bool>,
    /// Which version of the preset it grants; none if it is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether it grants what no release shipped, if that is known.
    pub modified: Option<bool>,
    /// Whether it may be upgraded, as its annotation has it, if that is known.
    pub auto_update: Option<bool>,
    /// Who looks after it, if that is anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// What was, or would be, done: `create`, `append`, `nothing` or `preserve`; `unknown` where
    /// the role could not be read.
    pub plan: String,
    /// The same in a sentence.
    pub message: String,
    /// How it differs from the latest version: a diff, line by line, of the first 200; none if that
    /// isn't known.
    pub difference: Option<Vec<String>>,
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
        let modified = match plan {
            Plan::Preserve { difference: None, .. } => None,
            Plan::Preserve { why: Why::Newer, .. } => Some(false),
            _ => Some(role.is_some() && version.is_none()),
        };
        Self {
            latest_version: history.latest(),
            exists: Some(role.is_some()),
            version,
            modified,
            auto_update: Some(!role.is_some_and(is_auto_update_off)),
            managed_by: role
                .and_then(|role| manager(&role.metadata))
                .map(|manager| manager.to_string()),
            plan: plan.word().to_owned(),
            message: plan.summary(),
            difference: plan.difference().map(|difference| difference.shown()),
            ..Self::default()
        }
    }

    /// Of a role that could not be read.
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
    fn of_roles() {
        let history = History::shipped();
        let absent = Report::of(&history, None, Mode::Manage);
        assert_eq!(
            (absent.exists, absent.modified, absent.version),
            (Some(false), Some(false), None)
        );
        assert_eq!(absent.plan, "create");
        assert_eq!(absent.difference.map(|lines| lines.len()), Some(2));

        let mut role = ClusterRole { rules: Some(history.rules(1)), ..ClusterRole::default() };
        let older = Report::of(&history, Some(&role), Mode::Manage);
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
        let flux = Report::of(&history, Some(&role), Mode::Manage);
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
    fn what_is_not_known_is_not_made_up() {
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
        let report = Report::of(&history, Some(&huge), Mode::Manage);
        assert_eq!((report.exists, report.modified, &report.difference), (Some(true), None, &None));
        assert!(report.message.contains("too much"), "{}", report.message);
    }

    #[test]
    fn a_report_has_a_bound() {
        let of =
            |resources: Vec<String>, verbs: Vec<String>| k8s_openapi::api::rbac::v1::PolicyRule {
                api_groups: Some(vec![String::new()]),
                resources: Some(resources),
                verbs,
                ..Default::default()
            };
        let words = |count: usize| (0..count).map(|n| format!("w{n:04}")).collect::<Vec<_>>();
        let role = ClusterRole {
            rules: Some(vec![
                of(words(300), vec!["get".into()]),
                of(vec!["a".into()], words(1000)),
            ]),
            ..ClusterRole::default()
        };
        let history = History::shipped();
        let report = Report::of(&history, Some(&role), Mode::Manage);
        let lines = report.difference.unwrap();
        // 300 words, one resource of many verbs, and what is missing.
        assert_eq!((lines.len(), lines[200].as_str()), (201, "and 103 more"));
        assert!(lines[0].starts_with("-a: w0000") && lines[0].ends_with('…'));
        assert!(lines.iter().all(|line| line.chars().count() <= 254));
        // Who asks for the plan gets all of it.
        let text = plan(&history, Some(&role), Mode::Manage).to_string();
        assert_eq!(text.lines().count(), 3 + 303);
    }
}
