//! The write that the auditor role needs, if any.

use std::fmt;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use super::{
    AUTO_UPDATE, Difference, ExternalManager, Grants, History, ROLE,
    external_manager::{external_manager, is_sole_rule_manager},
};

/// The writes that this process may make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Create and upgrade the role.
    Manage,
    /// Upgrade the role, but do not create one that was deleted.
    UpgradeOnly,
    /// Write nothing, because a GitOps repository or a user manages the role.
    Report,
}

/// The plan for the role, of which only the first two variants write.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Create the missing role.
    Create {
        /// The latest version of the preset.
        version: u32,
        /// The rules of that version.
        rules: Vec<PolicyRule>,
    },
    /// Append the rules of later versions to a role that equals an earlier version.
    Append {
        /// The current version of the role.
        from: u32,
        /// The latest version of the preset.
        to: u32,
        /// All rules after the write: the current rules, unchanged, and the added ones.
        rules: Vec<PolicyRule>,
        /// The permissions that the role gains.
        difference: Difference,
    },
    /// Do nothing, because the role grants what the latest version grants.
    Nothing {
        /// The latest version of the preset.
        version: u32,
    },
    /// Leave the role unchanged.
    Preserve {
        /// The reason for preserving the role.
        reason: PreserveReason,
        /// The version that the role equals, if any.
        version: Option<u32>,
        /// The latest version of the preset.
        latest: u32,
        /// The difference from the latest version, or `None` if the role cannot be compared.
        difference: Option<Difference>,
    },
}

/// The reason why a role is left unchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PreserveReason {
    /// The role does not exist, and the mode forbids creating it.
    Absent,
    /// The mode forbids all writes.
    ReportOnly,
    /// The role is being deleted.
    Deleting,
    /// Kubernetes fills in the rules from other roles.
    Aggregated,
    /// The named label adds the rules to another role, whose subjects would gain permissions too.
    AggregatedInto(String),
    /// The annotation for automatic updates is "false".
    AutoUpdateOff,
    /// Another tool or user applies the role.
    Managed(ExternalManager),
    /// A later release wrote rules that this release does not know.
    Newer,
    /// The rules were modified.
    Modified,
    /// The role grants too many permissions to compare.
    TooLarge,
    /// The API server reported that another field manager owns the rules.
    Conflict(String),
}

/// Returns the plan for a role, or for a missing role if `role` is `None`.
#[must_use]
pub fn plan(history: &History, role: Option<&ClusterRole>, mode: Mode) -> Plan {
    let latest = history.latest();
    let rules = history.rules(latest);
    let Some(role) = role else {
        if mode == Mode::Manage {
            return Plan::Create { version: latest, rules };
        }
        return Plan::Preserve {
            reason: if mode == Mode::Report {
                PreserveReason::ReportOnly
            } else {
                PreserveReason::Absent
            },
            version: None,
            latest,
            difference: Grants::from_rules(&rules)
                .map(|preset| Difference::between(&Grants::default(), &preset)),
        };
    };
    let actual = role.rules.as_deref().unwrap_or_default();
    let granted = Grants::from_rules(actual);
    let difference_to = |version: u32| {
        let preset = Grants::from_rules(&history.rules(version))?;
        Some(Difference::between(granted.as_ref()?, &preset))
    };
    let version = (1..=latest)
        .rev()
        .find(|version| difference_to(*version).is_some_and(|difference| difference.is_empty()));
    let difference = difference_to(latest);
    let preserve =
        |reason| Plan::Preserve { reason, version, latest, difference: difference.clone() };
    let metadata = &role.metadata;
    if metadata.deletion_timestamp.is_some() {
        return preserve(PreserveReason::Deleting);
    }
    if role.aggregation_rule.is_some() {
        return preserve(PreserveReason::Aggregated);
    }
    if version == Some(latest) {
        return Plan::Nothing { version: latest };
    }
    if let Some(reason) = upgrade_blocker(role) {
        return preserve(reason);
    }
    match (version, &difference) {
        (_, None) => preserve(PreserveReason::TooLarge),
        (None, Some(difference))
            if difference.missing.is_empty() && is_sole_rule_manager(metadata) =>
        {
            preserve(PreserveReason::Newer)
        }
        (None, Some(_)) => preserve(PreserveReason::Modified),
        (Some(_), Some(_)) if mode == Mode::Report => preserve(PreserveReason::ReportOnly),
        (Some(from), Some(difference)) => Plan::Append {
            from,
            to: latest,
            rules: [actual, &history.added_rules(from, latest)].concat(),
            difference: difference.clone(),
        },
    }
}

/// Returns the property of a role that forbids upgrades, whatever its rules.
pub(super) fn upgrade_blocker(role: &ClusterRole) -> Option<PreserveReason> {
    let metadata = &role.metadata;
    if metadata.deletion_timestamp.is_some() {
        return Some(PreserveReason::Deleting);
    }
    if role.aggregation_rule.is_some() {
        return Some(PreserveReason::Aggregated);
    }
    if is_auto_update_off(role) {
        return Some(PreserveReason::AutoUpdateOff);
    }
    aggregation_label(role)
        .map(PreserveReason::AggregatedInto)
        .or_else(|| external_manager(metadata).map(PreserveReason::Managed))
}

/// Returns whether the annotation for automatic updates is "false" in any case.
///
/// Kubernetes compares the value exactly, but a user who writes "False" means the same.
fn is_auto_update_off(role: &ClusterRole) -> bool {
    let annotations = role.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(AUTO_UPDATE))
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// Returns the label by which another role, such as `view`, aggregates the rules of this role.
fn aggregation_label(role: &ClusterRole) -> Option<String> {
    let labels = role.metadata.labels.as_ref()?;
    let label = labels.iter().find(|(name, value)| {
        name.starts_with("rbac.authorization.k8s.io/aggregate-to-") && *value == "true"
    });
    label.map(|(name, _)| name.clone())
}

impl Plan {
    /// Returns the name of the plan for metrics, reports and scripts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Append { .. } => "append",
            Self::Nothing { .. } => "nothing",
            Self::Preserve { .. } => "preserve",
        }
    }

    /// Returns the difference from the latest version, or `None` if the role cannot be compared.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        match self {
            Self::Create { rules, .. } => Grants::from_rules(rules)
                .map(|rules| Difference::between(&Grants::default(), &rules)),
            Self::Append { difference, .. } => Some(difference.clone()),
            Self::Nothing { .. } => Some(Difference::default()),
            Self::Preserve { difference, .. } => difference.clone(),
        }
    }

    /// Returns a line that states the plan and its reason.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Create { version, .. } => format!("create ClusterRole {ROLE}, version {version}"),
            Self::Append { from, to, .. } => {
                format!(
                    "append what version {to} adds to ClusterRole {ROLE}, which is version {from}"
                )
            }
            Self::Nothing { version } => {
                format!("nothing: ClusterRole {ROLE} is version {version}, the latest")
            }
            Self::Preserve { reason, .. } => format!("preserve ClusterRole {ROLE}: {reason}"),
        }
    }

    fn latest(&self) -> u32 {
        match self {
            Self::Create { version, .. } | Self::Nothing { version } => *version,
            Self::Append { to, .. } => *to,
            Self::Preserve { latest, .. } => *latest,
        }
    }
}

/// Displays the summary and then the difference as a diff.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        match self.difference() {
            Some(difference) if !difference.is_empty() => {
                let latest = self.latest();
                write!(f, "--- ClusterRole {ROLE}\n+++ preset version {latest}\n{difference}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for PreserveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => {
                write!(f, "it does not exist, and --auditor-role=upgrade-only does not create it")
            }
            Self::ReportOnly => write!(f, "--auditor-role=report writes nothing"),
            Self::Deleting => write!(f, "it is being deleted"),
            Self::Aggregated => write!(f, "it has an aggregationRule, which fills in its rules"),
            Self::AggregatedInto(label) => {
                write!(f, "its label {label} adds its rules to another role")
            }
            Self::AutoUpdateOff => write!(f, "its annotation {AUTO_UPDATE} is \"false\""),
            Self::Managed(manager) => write!(f, "managed by {manager}"),
            Self::Newer => write!(f, "a later release wrote it, with rules unknown to this one"),
            Self::Modified => write!(f, "it was modified and matches no release"),
            Self::TooLarge => write!(f, "it grants too many permissions to compare"),
            Self::Conflict(message) => {
                write!(f, "another field manager owns its rules: {message}")
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
