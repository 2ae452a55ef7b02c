//! What is to be done about the role.

use std::fmt;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use super::{
    AUTO_UPDATE, Difference, Grants, History, Manager, ROLE,
    manager::{manager, wrote_the_rules},
};

/// How much this process may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Create the role where there is none, upgrade it.
    Manage,
    /// Upgrade it, and leave one that was deleted deleted.
    UpgradeOnly,
    /// Write nothing; the role is somebody else's, a GitOps repository's say.
    Report,
}

/// What is to be done. Only the first two write.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// There is no role: create it.
    Create {
        /// The latest version.
        version: u32,
        /// Its rules.
        rules: Vec<PolicyRule>,
    },
    /// It is what an earlier release shipped: append what came later.
    Append {
        /// What it is now.
        from: u32,
        /// The latest version.
        to: u32,
        /// All the rules it has then: those it has, as they are, and those that are missing.
        rules: Vec<PolicyRule>,
        /// What it gains.
        difference: Difference,
    },
    /// It grants what the latest version does.
    Nothing {
        /// The latest version.
        version: u32,
    },
    /// It is somebody's own: not a byte of it changes.
    Preserve {
        /// Why.
        why: Why,
        /// Which version it is, if it is one.
        is: Option<u32>,
        /// The latest version.
        latest: u32,
        /// How it differs from the latest; unknown where it can't be compared.
        difference: Option<Difference>,
    },
}

/// Why a role is left alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// There is none, and none is to be created.
    Absent,
    /// The process was told not to write.
    ToldNotTo,
    /// It is being deleted.
    Deleting,
    /// Kubernetes fills in its rules from other roles.
    Aggregated,
    /// Kubernetes adds its rules to other roles: what it gains, all who hold those would gain.
    AggregatedInto(String),
    /// Its annotation says so.
    AutoUpdateOff,
    /// Somebody else applies it.
    Managed(Manager),
    /// A later release wrote it, which this one doesn't know.
    Newer,
    /// An administrator changed it.
    Modified,
    /// It grants more than can be compared.
    TooLarge,
    /// Another field manager owns what would be written, as the API server said.
    Conflict(String),
}

/// Decides. Of a role that is `None` the API server said that it doesn't exist.
#[must_use]
pub fn plan(history: &History, role: Option<&ClusterRole>, mode: Mode) -> Plan {
    let latest = history.latest();
    let rules = history.rules(latest);
    let Some(role) = role else {
        if mode == Mode::Manage {
            return Plan::Create { version: latest, rules };
        }
        return Plan::Preserve {
            why: if mode == Mode::Report { Why::ToldNotTo } else { Why::Absent },
            is: None,
            latest,
            difference: Grants::of(&rules)
                .map(|preset| Difference::between(&Grants::default(), &preset)),
        };
    };
    let actual = role.rules.as_deref().unwrap_or_default();
    let compared = Grants::of(actual);
    let difference_to = |version: u32| {
        let preset = Grants::of(&history.rules(version))?;
        Some(Difference::between(compared.as_ref()?, &preset))
    };
    let is = (1..=latest)
        .rev()
        .find(|version| difference_to(*version).is_some_and(|difference| difference.is_empty()));
    let difference = difference_to(latest);
    let preserve = |why| Plan::Preserve { why, is, latest, difference: difference.clone() };
    let metadata = &role.metadata;
    if metadata.deletion_timestamp.is_some() {
        return preserve(Why::Deleting);
    }
    if role.aggregation_rule.is_some() {
        return preserve(Why::Aggregated);
    }
    if is == Some(latest) {
        return Plan::Nothing { version: latest };
    }
    if is_auto_update_off(role) {
        return preserve(Why::AutoUpdateOff);
    }
    if let Some(label) = aggregated_into(role) {
        return preserve(Why::AggregatedInto(label));
    }
    if let Some(manager) = manager(metadata) {
        return preserve(Why::Managed(manager));
    }
    match (is, &difference) {
        (_, None) => preserve(Why::TooLarge),
        (None, Some(difference)) if difference.missing.is_empty() && wrote_the_rules(metadata) => {
            preserve(Why::Newer)
        }
        (None, Some(_)) => preserve(Why::Modified),
        (Some(_), Some(_)) if mode == Mode::Report => preserve(Why::ToldNotTo),
        (Some(from), Some(difference)) => Plan::Append {
            from,
            to: latest,
            rules: [actual, &history.added(from, latest)].concat(),
            difference: difference.clone(),
        },
    }
}

/// Kubernetes itself wants "false" to the letter; who writes "False" means the same.
pub(super) fn is_auto_update_off(role: &ClusterRole) -> bool {
    let annotations = role.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(AUTO_UPDATE))
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// The label by which Kubernetes' own roles (view, edit, admin) and others collect this one's
/// rules.
fn aggregated_into(role: &ClusterRole) -> Option<String> {
    let labels = role.metadata.labels.as_ref()?;
    let label = labels.iter().find(|(name, value)| {
        name.starts_with("rbac.authorization.k8s.io/aggregate-to-") && *value == "true"
    });
    label.map(|(name, _)| name.clone())
}

impl Plan {
    /// One word for a metric, a report and a script.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Append { .. } => "append",
            Self::Nothing { .. } => "nothing",
            Self::Preserve { .. } => "preserve",
        }
    }

    /// How the role differs from the latest version; unknown where it can't be compared.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        match self {
            Self::Create { rules, .. } => {
                Grants::of(rules).map(|rules| Difference::between(&Grants::default(), &rules))
            }
            Self::Append { difference, .. } => Some(difference.clone()),
            Self::Nothing { .. } => Some(Difference::default()),
            Self::Preserve { difference, .. } => difference.clone(),
        }
    }

    /// The one line that says what and why.
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
            Self::Preserve { why, .. } => format!("preserve ClusterRole {ROLE}: {why}"),
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

/// The summary, then the difference as a diff.
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

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => {
                write!(f, "there is none, and with --auditor-role=upgrade-only none is created")
            }
            Self::ToldNotTo => write!(f, "--auditor-role=report leaves it to somebody else"),
            Self::Deleting => write!(f, "it is being deleted"),
            Self::Aggregated => write!(f, "it has an aggregationRule, which fills in its rules"),
            Self::AggregatedInto(label) => {
                write!(f, "its label {label} adds its rules to another role")
            }
            Self::AutoUpdateOff => write!(f, "its annotation {AUTO_UPDATE} is \"false\""),
            Self::Managed(manager) => write!(f, "managed by {manager}"),
            Self::Newer => write!(f, "a later release wrote it, with more than this one knows"),
            Self::Modified => write!(f, "it was modified, and is what no release shipped"),
            Self::TooLarge => write!(f, "it grants too much to be compared"),
            Self::Conflict(message) => write!(f, "somebody else owns its rules: {message}"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
