//! RBAC rules split into single permissions.
//!
//! Two roles are compared by their permissions. The order, grouping and duplication of rules do not
//! matter, and every other difference does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::text::printable;

const ALL: &str = "*";

/// The maximum number of permissions of a role that is compared.
///
/// A rule multiplies its lists, so a role of the maximum size of etcd could exhaust the memory.
const MAX_GRANTS: usize = 50_000;

/// The maximum length of a name in a line of a difference.
const MAX_NAME: usize = 253;

/// The maximum number of lines of a difference in a report or log message.
///
/// A role may grant tens of thousands of permissions.
const MAX_LINES: usize = 200;
/// The maximum length of such a line in characters, because a rule may have any number of verbs.
const MAX_LINE_LENGTH: usize = 253;

/// A single permission, as RBAC matches it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grant {
    /// A verb on a resource, optionally restricted to an object name.
    Resource {
        /// The API group, empty for the core group.
        group: String,
        /// The resource, `resource/subresource`, `*` or `*/subresource`.
        resource: String,
        /// The object name that the permission is restricted to.
        name: Option<String>,
        /// The verb, or `*`.
        verb: String,
    },
    /// A verb on a URL path that is not a resource.
    Url {
        /// The path, where a trailing `*` matches any suffix.
        url: String,
        /// The verb, or `*`.
        verb: String,
    },
}

impl Grant {
    /// Returns whether this permission includes the other one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Resource { group, resource, name, verb },
                Self::Resource {
                    group: other_group,
                    resource: other_resource,
                    name: other_name,
                    verb: other_verb,
                },
            ) => {
                value_covers(group, other_group)
                    && resource_covers(resource, other_resource)
                    && (name.is_none() || name == other_name)
                    && value_covers(verb, other_verb)
            }
            (Self::Url { url, verb }, Self::Url { url: other_url, verb: other_verb }) => {
                url_covers(url, other_url) && value_covers(verb, other_verb)
            }
            _ => false,
        }
    }
}

fn value_covers(value: &str, other: &str) -> bool {
    value == ALL || value == other
}

/// Compares resources like `ResourceMatches` of Kubernetes.
fn resource_covers(resource: &str, other: &str) -> bool {
    value_covers(resource, other)
        || resource.strip_prefix("*/").is_some_and(|subresource| {
            other.split_once('/').is_some_and(|(_, other)| other == subresource)
        })
}

/// Compares paths like `NonResourceURLMatches` of Kubernetes.
fn url_covers(url: &str, other: &str) -> bool {
    value_covers(url, other) || (url.ends_with('*') && other.starts_with(url.trim_end_matches('*')))
}

/// A set of permissions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Returns the permissions of the rules, or `None` if there are too many to compare.
    #[must_use]
    pub fn from_rules(rules: &[PolicyRule]) -> Option<Self> {
        let mut grants = BTreeSet::new();
        let mut budget = MAX_GRANTS;
        for rule in rules {
            // The API server stores null, absent and empty lists alike, as absent.
            let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
            let (groups, resources, urls) =
                (list(&rule.api_groups), list(&rule.resources), list(&rule.non_resource_urls));
            let names = match list(&rule.resource_names) {
                names if names.is_empty() => vec![None],
                names => names.into_iter().map(Some).collect(),
            };
            let count = groups
                .len()
                .checked_mul(resources.len())?
                .checked_mul(names.len())?
                .checked_add(urls.len())?
                .checked_mul(rule.verbs.len())?;
            budget = budget.checked_sub(count)?;
            for verb in &rule.verbs {
                for (group, resource) in groups
                    .iter()
                    .flat_map(|group| resources.iter().map(move |resource| (group, resource)))
                {
                    grants.extend(names.iter().map(|name| Grant::Resource {
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb: verb.clone(),
                    }));
                }
                grants.extend(
                    urls.iter().map(|url| Grant::Url { url: url.clone(), verb: verb.clone() }),
                );
            }
        }
        Some(Self(grants))
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the permissions that `other` does not include.
    #[must_use]
    pub fn not_covered_by(&self, other: &Self) -> Self {
        let uncovered = self.0.iter().filter(|grant| {
            !other.0.contains(grant) && !other.0.iter().any(|held| held.covers(grant))
        });
        Self(uncovered.cloned().collect())
    }

    /// Returns a line with all verbs of each resource or path: `pods.metrics.k8s.io: get, list`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for grant in &self.0 {
            let (subject, verb) = match grant {
                Grant::Resource { group, resource, name, verb } => {
                    let dot = if group.is_empty() { "" } else { "." };
                    let mut subject = printable(&format!("{resource}{dot}{group}"), MAX_NAME);
                    if let Some(name) = name {
                        subject.extend([" \"", &printable(name, MAX_NAME), "\""]);
                    }
                    (subject, verb)
                }
                Grant::Url { url, verb } => (printable(url, MAX_NAME), verb),
            };
            verbs.entry(subject).or_default().push(printable(verb, MAX_NAME));
        }
        verbs
            .into_iter()
            .map(|(subject, verbs)| format!("{subject}: {}", verbs.join(", ")))
            .collect()
    }

    /// Returns rules that grant these permissions.
    #[must_use]
    pub fn to_rules(&self) -> Vec<PolicyRule> {
        // API group, resource or path, object name.
        type Subject = (Option<String>, String, Option<String>);
        let mut verbs: BTreeMap<Subject, Vec<String>> = BTreeMap::new();
        for grant in self.0.clone() {
            let (subject, verb) = match grant {
                Grant::Resource { group, resource, name, verb } => {
                    ((Some(group), resource, name), verb)
                }
                Grant::Url { url, verb } => ((None, url, None), verb),
            };
            verbs.entry(subject).or_default().push(verb);
        }
        verbs
            .into_iter()
            .map(|((group, resource_or_url, name), verbs)| match group {
                Some(group) => PolicyRule {
                    api_groups: Some(vec![group]),
                    resources: Some(vec![resource_or_url]),
                    resource_names: name.map(|name| vec![name]),
                    verbs,
                    ..PolicyRule::default()
                },
                None => PolicyRule {
                    non_resource_urls: Some(vec![resource_or_url]),
                    verbs,
                    ..PolicyRule::default()
                },
            })
            .collect()
    }
}

/// The difference between the permissions of a role and of the preset, displayed as a diff.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// Permissions of the role that the preset does not include.
    pub extra: Grants,
    /// Permissions of the preset that the role does not include.
    pub missing: Grants,
}

impl Difference {
    /// Compares the actual permissions with those of the preset.
    #[must_use]
    pub fn between(actual: &Grants, preset: &Grants) -> Self {
        Self { extra: actual.not_covered_by(preset), missing: preset.not_covered_by(actual) }
    }

    /// Returns whether both grant the same permissions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.missing.is_empty()
    }

    /// Returns the lines of the diff from the role to the preset, without a header.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(String, bool)> = Vec::new();
        lines.extend(self.extra.lines().into_iter().map(|line| (line, false)));
        lines.extend(self.missing.lines().into_iter().map(|line| (line, true)));
        // Group the lines of a resource, with removed verbs before added ones.
        lines.sort_by(|(line, added), (other, other_added)| {
            let subject =
                |line: &str| line.rsplit_once(": ").map_or(0, |(subject, _)| subject.len());
            (&line[..subject(line)], added).cmp(&(&other[..subject(other)], other_added))
        });
        lines
            .into_iter()
            .map(|(line, added)| format!("{}{line}", if added { '+' } else { '-' }))
            .collect()
    }

    /// Returns the lines of the diff, limited in number and length.
    ///
    /// A last line states how many lines were omitted.
    #[must_use]
    pub fn truncated_lines(&self) -> Vec<String> {
        let mut lines = self.lines();
        let omitted = lines.len().saturating_sub(MAX_LINES);
        lines.truncate(MAX_LINES);
        for line in &mut lines {
            if let Some((end, _)) = line.char_indices().nth(MAX_LINE_LENGTH) {
                line.truncate(end);
                line.push('…');
            }
        }
        if omitted > 0 {
            lines.push(format!("and {omitted} more"));
        }
        lines
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
