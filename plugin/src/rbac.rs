//! Evaluation of RBAC roles and bindings.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde::Serialize;

use crate::{cli::rbac::SessionAction, server::RbacObjects};

const SESSIONS: (&str, &str) = ("operator.metalbear.co", "sessions");
const TRACKERS: (&str, &str) = ("visibility.operator.metalbear.co", "sessiontrackers");
const JOIN: (&str, &str) = ("visibility.operator.metalbear.co", "sessiontrackers/join");
const ALL: &str = "*";

/// A right of a subject, with the binding that grants it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Right {
    /// The kind: `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// The name; for a service account, with its namespace in front.
    pub name: String,
    /// The permission, such as `delete sessions.operator.metalbear.co`.
    pub may: String,
    /// The session names to which the right is limited; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The namespace to which the right is limited; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The binding, such as `ClusterRoleBinding/auditors`.
    pub binding: String,
    /// The bound role, such as `ClusterRole/mirrord-operator-auditor`.
    pub role: String,
}

/// Returns the verbs and resources, any of which allows the action.
fn required_verbs(what: SessionAction) -> &'static [(&'static str, (&'static str, &'static str))] {
    match what {
        // A watch begins with all objects, so it allows listing.
        SessionAction::List => {
            &[("list", SESSIONS), ("list", TRACKERS), ("watch", SESSIONS), ("watch", TRACKERS)]
        }
        SessionAction::Read => &[("get", SESSIONS), ("get", TRACKERS)],
        SessionAction::Kill => &[("delete", SESSIONS), ("deletecollection", SESSIONS)],
        SessionAction::Join => &[("create", JOIN)],
    }
}

/// Returns all subjects with the right, in order.
#[must_use]
pub fn who_can(what: SessionAction, all: &RbacObjects) -> Vec<Right> {
    let mut rules: BTreeMap<(Option<&str>, &str), &[PolicyRule]> = BTreeMap::new();
    for role in &all.cluster_roles {
        let name = role.metadata.name.as_deref().unwrap_or_default();
        rules.insert((None, name), role.rules.as_deref().unwrap_or_default());
    }
    for role in &all.roles {
        let name = role.metadata.name.as_deref().unwrap_or_default();
        let namespace = role.metadata.namespace.as_deref().unwrap_or_default();
        rules.insert((Some(namespace), name), role.rules.as_deref().unwrap_or_default());
    }
    let mut rights = Vec::new();
    for binding in &all.cluster_role_bindings {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let Some(rules) = rules.get(&(None, binding.role_ref.name.as_str())) else {
            continue;
        };
        let bound = BoundRole {
            namespace: None,
            binding: format!("ClusterRoleBinding/{name}"),
            role: &binding.role_ref,
            subjects: binding.subjects.as_deref().unwrap_or_default(),
        };
        bound.rights(what, rules, &mut rights);
    }
    for binding in &all.role_bindings {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
        let role_namespace = (binding.role_ref.kind == "Role").then_some(namespace);
        let Some(rules) = rules.get(&(role_namespace, binding.role_ref.name.as_str())) else {
            continue;
        };
        let bound = BoundRole {
            namespace: Some(namespace),
            binding: format!("RoleBinding/{name}"),
            role: &binding.role_ref,
            subjects: binding.subjects.as_deref().unwrap_or_default(),
        };
        bound.rights(what, rules, &mut rights);
    }
    rights.sort();
    rights.dedup();
    rights
}

/// A binding with its role.
struct BoundRole<'a> {
    namespace: Option<&'a str>,
    binding: String,
    role: &'a RoleRef,
    subjects: &'a [Subject],
}

impl BoundRole<'_> {
    fn rights(&self, what: SessionAction, rules: &[PolicyRule], rights: &mut Vec<Right>) {
        for (verb, resource) in required_verbs(what) {
            let Some(only) = allowed_names(rules, verb, *resource) else {
                continue;
            };
            // A subject that may list too needs no second line.
            let listed = (*verb == "watch").then(|| allowed_names(rules, "list", *resource));
            if listed.flatten().is_some_and(|listed| listed.is_empty() || listed == only) {
                continue;
            }
            let (group, plural) = resource;
            rights.extend(self.subjects.iter().map(|subject| Right {
                kind: subject.kind.clone(),
                name: subject_name(subject, self.namespace),
                may: format!("{verb} {plural}.{group}"),
                only: only.clone(),
                namespace: self.namespace.map(ToOwned::to_owned),
                binding: self.binding.clone(),
                role: format!("{}/{}", self.role.kind, self.role.name),
            }));
        }
    }
}

fn subject_name(subject: &Subject, namespace: Option<&str>) -> String {
    if subject.kind != "ServiceAccount" {
        return subject.name.clone();
    }
    let namespace = subject.namespace.as_deref().or(namespace).unwrap_or_default();
    format!("{namespace}/{}", subject.name)
}

/// Returns the names to which the rules limit the verb, empty for all, or nothing if they don't
/// allow it.
fn allowed_names(
    rules: &[PolicyRule],
    verb: &str,
    (group, resource): (&str, &str),
) -> Option<Vec<String>> {
    let has = |list: &[String], value: &str| list.iter().any(|item| item == ALL || item == value);
    let mut names: Option<Vec<String>> = None;
    for rule in rules {
        let groups = rule.api_groups.as_deref().unwrap_or_default();
        let resources = rule.resources.as_deref().unwrap_or_default();
        // This follows ResourceMatches of Kubernetes.
        let any_subresource =
            resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        let matches = has(&rule.verbs, verb)
            && has(groups, group)
            && (has(resources, resource)
                || any_subresource.is_some_and(|any| resources.contains(&any)));
        if !matches {
            continue;
        }
        match rule.resource_names.as_deref().unwrap_or_default() {
            [] => return Some(Vec::new()),
            // A request to delete a collection has no name, so rules with names don't allow it.
            _ if verb == "deletecollection" => {}
            some => names.get_or_insert_default().extend(some.iter().cloned()),
        }
    }
    if let Some(names) = &mut names {
        names.sort();
        names.dedup();
    }
    names
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
