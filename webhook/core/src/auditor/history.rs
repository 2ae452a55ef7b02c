//! What each release shipped.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// One rule, as data.
struct Rule {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
}

const SEE: &[&str] = &["get", "list", "watch"];

/// What each version of the preset appended to the one before. A new version is one more entry, and
/// its rules go to `manifests/base/auditor.yaml` too: nobody may grant what they don't hold.
const SHIPPED: &[&[Rule]] = &[
    &[Rule { group: "operator.metalbear.co", resource: "sessionpolicies", verbs: SEE }],
    &[Rule { group: "visibility.operator.metalbear.co", resource: "sessiontrackers", verbs: SEE }],
];

/// The versions of the preset, from the first on. Holds one at least.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    first: Vec<PolicyRule>,
    later: Vec<Vec<PolicyRule>>,
}

/// A version of the preset that isn't known here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no version {0} of the auditor preset, only 1 to {1}")]
pub struct NoSuchVersion(u32, u32);

impl History {
    /// The history that this release knows.
    #[must_use]
    pub fn shipped() -> Self {
        let mut releases =
            SHIPPED.iter().map(|rules| rules.iter().map(policy_rule).collect::<Vec<_>>());
        Self { first: releases.next().unwrap_or_default(), later: releases.collect() }
    }

    /// A history of what each version appended to the one before.
    #[must_use]
    pub fn new(first: Vec<PolicyRule>, later: Vec<Vec<PolicyRule>>) -> Self {
        Self { first, later }
    }

    /// The same as a release knew it whose latest version was `version`.
    pub fn up_to(mut self, version: u32) -> Result<Self, NoSuchVersion> {
        if version == 0 || version > self.latest() {
            return Err(NoSuchVersion(version, self.latest()));
        }
        self.later.truncate(version as usize - 1);
        Ok(self)
    }

    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> u32 {
        u32::try_from(self.later.len() + 1).unwrap_or(u32::MAX)
    }

    /// All the rules of a version.
    #[must_use]
    pub fn rules(&self, version: u32) -> Vec<PolicyRule> {
        self.added(0, version)
    }

    /// What the versions after `from`, up to `to`, appended.
    #[must_use]
    pub fn added(&self, from: u32, to: u32) -> Vec<PolicyRule> {
        std::iter::once(&self.first)
            .chain(&self.later)
            .take(to as usize)
            .skip(from as usize)
            .flatten()
            .cloned()
            .collect()
    }
}

fn policy_rule(rule: &Rule) -> PolicyRule {
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
    fn every_version_adds_something_and_takes_nothing_away() {
        let history = History::shipped();
        assert_eq!(history.latest() as usize, SHIPPED.len());
        for version in 1..history.latest() {
            let older = Grants::of(&history.rules(version)).unwrap();
            let newer = Grants::of(&history.rules(version + 1)).unwrap();
            let difference = Difference::between(&older, &newer);
            assert!(difference.extra.is_empty(), "{version}");
            assert!(!difference.missing.is_empty(), "{version}");
        }
    }

    #[test]
    fn an_auditor_sees_and_does_nothing_else() {
        for rule in History::shipped().rules(u32::MAX) {
            assert_eq!(rule.verbs, SEE);
            assert_eq!(rule.non_resource_urls, None);
        }
    }

    #[test]
    fn versions() {
        let history = History::shipped();
        assert_eq!(history.clone().up_to(1).unwrap().rules(9), history.rules(1));
        assert_eq!(history.clone().up_to(2).unwrap(), history);
        assert_eq!(history.added(1, 2), history.rules(2)[1..]);
        for version in [0, 3, u32::MAX] {
            let error = history.clone().up_to(version).unwrap_err().to_string();
            assert!(error.contains("only 1 to 2"), "{error}");
        }
    }
}
