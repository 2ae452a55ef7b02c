//! The versions of the auditor preset that releases shipped.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// A rule of the preset as a constant.
struct PresetRule {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
}

const READ_VERBS: &[&str] = &["get", "list", "watch"];

/// The rules that each version of the preset added to the previous version.
///
/// A new version is a new entry. Its rules must also be added to `manifests/base/auditor.yaml`,
/// because RBAC allows the controller to grant only the permissions that it holds.
const SHIPPED: &[&[PresetRule]] = &[
    &[PresetRule {
        group: "operator.metalbear.co",
        resource: "sessionpolicies",
        verbs: READ_VERBS,
    }],
    &[PresetRule {
        group: "visibility.operator.metalbear.co",
        resource: "sessiontrackers",
        verbs: READ_VERBS,
    }],
];

/// The versions of the preset, of which there is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    first: Vec<PolicyRule>,
    later: Vec<Vec<PolicyRule>>,
}

/// The error for a version that the history does not contain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no version {0} of the auditor preset, only 1 to {1}")]
pub struct NoSuchVersion(u32, u32);

impl History {
    /// Returns the history that this release shipped.
    #[must_use]
    pub fn shipped() -> Self {
        let mut releases =
            SHIPPED.iter().map(|rules| rules.iter().map(policy_rule).collect::<Vec<_>>());
        Self { first: releases.next().unwrap_or_default(), later: releases.collect() }
    }

    /// Creates a history from the rules that each version added to the previous version.
    #[must_use]
    pub fn new(first: Vec<PolicyRule>, later: Vec<Vec<PolicyRule>>) -> Self {
        Self { first, later }
    }

    /// Truncates the history to that of a release whose latest version was `version`.
    ///
    /// # Errors
    /// Returns an error if the history does not contain the version.
    pub fn up_to(mut self, version: u32) -> Result<Self, NoSuchVersion> {
        if version == 0 || version > self.latest() {
            return Err(NoSuchVersion(version, self.latest()));
        }
        self.later.truncate(version as usize - 1);
        Ok(self)
    }

    /// Returns the latest version.
    #[must_use]
    pub fn latest(&self) -> u32 {
        u32::try_from(self.later.len() + 1).unwrap_or(u32::MAX)
    }

    /// Returns all rules of a version.
    #[must_use]
    pub fn rules(&self, version: u32) -> Vec<PolicyRule> {
        self.added_rules(0, version)
    }

    /// Returns the rules that the versions after `from`, up to and including `to`, added.
    #[must_use]
    pub fn added_rules(&self, from: u32, to: u32) -> Vec<PolicyRule> {
        std::iter::once(&self.first)
            .chain(&self.later)
            .take(to as usize)
            .skip(from as usize)
            .flatten()
            .cloned()
            .collect()
    }
}

fn policy_rule(rule: &PresetRule) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![rule.group.into()]),
        resources: Some(vec![rule.resource.into()]),
        verbs: rule.verbs.iter().map(|verb| (*verb).into()).collect(),
        ..PolicyRule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditor::{Difference, Grants};

    #[test]
    fn every_version_only_adds_permissions() {
        let history = History::shipped();
        assert_eq!(history.latest() as usize, SHIPPED.len());
        for version in 1..history.latest() {
            let older = Grants::from_rules(&history.rules(version)).unwrap();
            let newer = Grants::from_rules(&history.rules(version + 1)).unwrap();
            let difference = Difference::between(&older, &newer);
            assert!(difference.extra.is_empty(), "{version}");
            assert!(!difference.missing.is_empty(), "{version}");
        }
    }

    #[test]
    fn preset_grants_only_read_verbs() {
        for rule in History::shipped().rules(u32::MAX) {
            assert_eq!(rule.verbs, READ_VERBS);
            assert_eq!(rule.non_resource_urls, None);
        }
    }

    #[test]
    fn selects_versions() {
        let history = History::shipped();
        assert_eq!(history.clone().up_to(1).unwrap().rules(9), history.rules(1));
        assert_eq!(history.clone().up_to(2).unwrap(), history);
        assert_eq!(history.added_rules(1, 2), history.rules(2)[1..]);
        for version in [0, 3, u32::MAX] {
            let error = history.clone().up_to(version).unwrap_err().to_string();
            assert!(error.contains("only 1 to 2"), "{error}");
        }
    }
}
