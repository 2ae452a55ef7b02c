//! What rules grant, taken apart into single permissions, so that the order, the splitting and the
//! spelling of rules don't matter and everything else does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::text::printable;

const ALL: &str = "*";

/// Permissions that a role may have to be compared. A rule multiplies its lists, so that an object
/// of the size that etcd takes could ask for more than any memory holds.
const MOST: usize = 50_000;

/// How much of a name is shown.
const SHOWN: usize = 253;

/// Lines of a difference that a report and a log line hold, and characters of one: a role may grant
/// tens of thousands of permissions, and a rule hold any number of verbs.
const MOST_LINES: usize = 200;
const LONGEST_LINE: usize = 253;

/// A single permission, as RBAC matches it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grant {
    /// A verb on a resource; of one name, or of all.
    Resource {
        /// API group, empty for the core's.
        group: String,
        /// Resource, `resource/subresource`, `*` or `*/subresource`.
        resource: String,
        /// The only name that is meant.
        name: Option<String>,
        /// Verb, or `*`.
        verb: String,
    },
    /// A verb on a path that is no resource.
    Url {
        /// The path; a `*` at its end stands for whatever follows.
        url: String,
        /// Verb, or `*`.
        verb: String,
    },
}

impl Grant {
    /// Whether who has this one needs the other no more.
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
                either(group, other_group)
                    && resource_covers(resource, other_resource)
                    && (name.is_none() || name == other_name)
                    && either(verb, other_verb)
            }
            (Self::Url { url, verb }, Self::Url { url: other_url, verb: other_verb }) => {
                url_covers(url, other_url) && either(verb, other_verb)
            }
            _ => false,
        }
    }
}

fn either(value: &str, other: &str) -> bool {
    value == ALL || value == other
}

/// As Kubernetes' `ResourceMatches`.
fn resource_covers(resource: &str, other: &str) -> bool {
    either(resource, other)
        || resource.strip_prefix("*/").is_some_and(|subresource| {
            other.split_once('/').is_some_and(|(_, other)| other == subresource)
        })
}

/// As Kubernetes' `NonResourceURLMatches`.
fn url_covers(url: &str, other: &str) -> bool {
    either(url, other) || (url.ends_with('*') && other.starts_with(url.trim_end_matches('*')))
}

/// Permissions, each once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// What the rules grant; nothing if that is too much to be taken apart.
    #[must_use]
    pub fn of(rules: &[PolicyRule]) -> Option<Self> {
        let mut grants = BTreeSet::new();
        let mut budget = MOST;
        for rule in rules {
            // Null, absent and empty are one: the API server stores all three as absent.
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

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `other` doesn't hold.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let beyond = self.0.iter().filter(|grant| {
            !other.0.contains(grant) && !other.0.iter().any(|held| held.covers(grant))
        });
        Self(beyond.cloned().collect())
    }

    /// One line for all verbs of a resource or path: `pods.metrics.k8s.io: get, list`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for grant in &self.0 {
            let (place, verb) = match grant {
                Grant::Resource { group, resource, name, verb } => {
                    let dot = if group.is_empty() { "" } else { "." };
                    let mut place = printable(&format!("{resource}{dot}{group}"), SHOWN);
                    if let Some(name) = name {
                        place.extend([" \"", &printable(name, SHOWN), "\""]);
                    }
                    (place, verb)
                }
                Grant::Url { url, verb } => (printable(url, SHOWN), verb),
            };
            verbs.entry(place).or_default().push(printable(verb, SHOWN));
        }
        verbs.into_iter().map(|(place, verbs)| format!("{place}: {}", verbs.join(", "))).collect()
    }

    /// The same as rules.
    #[must_use]
    pub fn rules(&self) -> Vec<PolicyRule> {
        type Place = (Option<String>, String, Option<String>);
        let mut verbs: BTreeMap<Place, Vec<String>> = BTreeMap::new();
        for grant in self.0.clone() {
            let (place, verb) = match grant {
                Grant::Resource { group, resource, name, verb } => {
                    ((Some(group), resource, name), verb)
                }
                Grant::Url { url, verb } => ((None, url, None), verb),
            };
            verbs.entry(place).or_default().push(verb);
        }
        verbs
            .into_iter()
            .map(|((group, place, name), verbs)| match group {
                Some(group) => PolicyRule {
                    api_groups: Some(vec![group]),
                    resources: Some(vec![place]),
                    resource_names: name.map(|name| vec![name]),
                    verbs,
                    ..PolicyRule::default()
                },
                None => PolicyRule {
                    non_resource_urls: Some(vec![place]),
                    verbs,
                    ..PolicyRule::default()
                },
            })
            .collect()
    }
}

/// How what a role grants differs from what it should. Shown as a diff, from the one to the other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// Granted, and not by the preset.
    pub extra: Grants,
    /// In the preset, and not granted.
    pub missing: Grants,
}

impl Difference {
    /// From what there is to what there should be.
    #[must_use]
    pub fn between(actual: &Grants, preset: &Grants) -> Self {
        Self { extra: actual.beyond(preset), missing: preset.beyond(actual) }
    }

    /// Whether both grant the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.missing.is_empty()
    }

    /// The lines of the diff, without a header.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(String, bool)> = Vec::new();
        lines.extend(self.extra.lines().into_iter().map(|line| (line, false)));
        lines.extend(self.missing.lines().into_iter().map(|line| (line, true)));
        // All of a resource together, what goes before what comes.
        lines.sort_by(|(one, comes), (other, other_comes)| {
            let place = |line: &str| line.rsplit_once(": ").map_or(0, |(place, _)| place.len());
            (&one[..place(one)], comes).cmp(&(&other[..place(other)], other_comes))
        });
        lines
            .into_iter()
            .map(|(line, comes)| format!("{}{line}", if comes { '+' } else { '-' }))
            .collect()
    }

    /// The same for what must not grow without bound: so many lines, and how many more there are.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let mut lines = self.lines();
        let more = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        for line in &mut lines {
            if let Some((end, _)) = line.char_indices().nth(LONGEST_LINE) {
                line.truncate(end);
                line.push('…');
            }
        }
        if more > 0 {
            lines.push(format!("and {more} more"));
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
