//! Detection of tools and users that manage the role.
//!
//! If two controllers write the same object, they keep overwriting each other. The role is
//! therefore left to any other manager.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::FIELD_MANAGER;
use crate::text::printable;

/// The maximum length of a value from the role's metadata.
const MAX_VALUE: usize = 128;

/// A manager of the role other than this project, with the evidence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalManager {
    /// The name of the tool or user.
    pub name: String,
    /// The label, annotation, owner reference or field manager that identifies the manager.
    pub evidence: String,
}

impl fmt::Display for ExternalManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.evidence)
    }
}

/// Labels that only the named tool writes.
///
/// `app.kubernetes.io/instance` is not one of them. Charts and users write it, and so does Argo CD
/// in one of its modes, in which the field manager of the rules identifies Argo CD.
const LABELS: &[(&str, &str)] = &[
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("applyset.kubernetes.io/part-of", "kubectl apply --applyset"),
    ("kapp.k14s.io/app", "kapp"),
    ("objectset.rio.cattle.io/hash", "Fleet"),
    ("olm.owner", "Operator Lifecycle Manager"),
];

/// Annotations that only the named tool writes.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("meta.helm.sh/release-name", "Helm"),
    ("configmanagement.gke.io/managed", "Config Sync"),
    ("config.k8s.io/owning-inventory", "an inventory of kpt or Config Sync"),
    ("kubectl.kubernetes.io/last-applied-configuration", "kubectl apply"),
];

/// Further labels and annotations that these tools write, which alone do not identify them.
const COMPANIONS: &[&str] = &[
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-namespace",
];

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Returns the manager of an object, or `None` if only this project manages it.
#[must_use]
pub fn external_manager(metadata: &ObjectMeta) -> Option<ExternalManager> {
    let labels = metadata.labels.iter().flatten();
    let annotations = metadata.annotations.iter().flatten();
    let tool_of = |table: &[(&str, &str)], key: &str| {
        let entry = table.iter().find(|(known, _)| *known == key);
        entry.map(|(_, name)| (*name).to_owned())
    };
    for (key, value) in annotations {
        if let Some(name) = tool_of(ANNOTATIONS, key) {
            let evidence = match key.as_str() {
                // The value is a whole manifest.
                "kubectl.kubernetes.io/last-applied-configuration" => format!("annotation {key}"),
                _ => format!("annotation {key}={}", printable(value, MAX_VALUE)),
            };
            return Some(ExternalManager { name, evidence });
        }
    }
    for (key, value) in labels {
        let name = match key.as_str() {
            MANAGED_BY if value != FIELD_MANAGER => Some(printable(value, MAX_VALUE)),
            key => tool_of(LABELS, key),
        };
        if let Some(name) = name {
            let evidence = format!("label {key}={}", printable(value, MAX_VALUE));
            return Some(ExternalManager { name, evidence });
        }
    }
    if let Some(owner) = metadata.owner_references.iter().flatten().next() {
        return Some(ExternalManager {
            name: printable(&format!("{} {}", owner.kind, owner.name), MAX_VALUE),
            evidence: "owner reference".into(),
        });
    }
    let entry = rule_field_managers(metadata).find(|entry| !is_own_entry(entry))?;
    let name = printable(entry.manager.as_deref().unwrap_or("unknown"), MAX_VALUE);
    Some(ExternalManager { evidence: format!("field manager {name} owns the rules"), name })
}

/// Returns whether a label or annotation only identifies the manager of the object.
pub(super) fn is_tracking_metadata(key: &str, value: &str) -> bool {
    let known = LABELS.iter().chain(ANNOTATIONS).map(|(known, _)| known);
    known.chain(COMPANIONS).any(|known| *known == key)
        || (key == MANAGED_BY && value == FIELD_MANAGER)
}

/// Returns whether this project is the only field manager of the rules.
pub(super) fn is_sole_rule_manager(metadata: &ObjectMeta) -> bool {
    let mut managers = rule_field_managers(metadata).peekable();
    managers.peek().is_some() && managers.all(is_own_entry)
}

fn is_own_entry(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
}

fn rule_field_managers(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| {
            ["f:rules", "f:aggregationRule"].iter().any(|field| fields.get(field).is_some())
        })
    })
}
