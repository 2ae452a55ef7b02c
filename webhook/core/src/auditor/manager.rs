//! Who else looks after the role. Two that both write the same object fight for ever, so whoever it
//! is keeps it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::FIELD_MANAGER;
use crate::text::printable;

/// How much of a foreign value is shown.
const SHOWN: usize = 128;

/// Somebody who applies the role, and how that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manager {
    /// What people call it.
    pub name: String,
    /// The label, annotation or field manager that says so.
    pub evidence: String,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.evidence)
    }
}

/// Labels that only the named tool writes. Not `app.kubernetes.io/instance`: charts, people and, in
/// one of its modes, Argo CD write it; then Argo CD's field manager owns the rules and tells.
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

/// What the same tools write beside these.
const COMPANIONS: &[&str] = &[
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-namespace",
];

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Who looks after the object, if that isn't this project.
#[must_use]
pub fn manager(metadata: &ObjectMeta) -> Option<Manager> {
    let labels = metadata.labels.iter().flatten();
    let annotations = metadata.annotations.iter().flatten();
    let known = |table: &[(&str, &str)], key: &str| {
        let found = table.iter().find(|(known, _)| *known == key);
        found.map(|(_, name)| (*name).to_owned())
    };
    for (key, value) in annotations {
        if let Some(name) = known(ANNOTATIONS, key) {
            let evidence = match key.as_str() {
                // A whole manifest.
                "kubectl.kubernetes.io/last-applied-configuration" => format!("annotation {key}"),
                _ => format!("annotation {key}={}", printable(value, SHOWN)),
            };
            return Some(Manager { name, evidence });
        }
    }
    for (key, value) in labels {
        let name = match key.as_str() {
            MANAGED_BY if value != FIELD_MANAGER => Some(printable(value, SHOWN)),
            key => known(LABELS, key),
        };
        if let Some(name) = name {
            let evidence = format!("label {key}={}", printable(value, SHOWN));
            return Some(Manager { name, evidence });
        }
    }
    if let Some(owner) = metadata.owner_references.iter().flatten().next() {
        return Some(Manager {
            name: printable(&format!("{} {}", owner.kind, owner.name), SHOWN),
            evidence: "owner reference".into(),
        });
    }
    let foreign = owners_of_rules(metadata).find(|entry| !is_ours(entry))?;
    let name = printable(foreign.manager.as_deref().unwrap_or("unknown"), SHOWN);
    Some(Manager { evidence: format!("field manager {name} owns the rules"), name })
}

/// Whether a label or an annotation says no more than who wrote the object.
pub(super) fn is_tracking(key: &str, value: &str) -> bool {
    let known = LABELS.iter().chain(ANNOTATIONS).map(|(known, _)| known);
    known.chain(COMPANIONS).any(|known| *known == key)
        || (key == MANAGED_BY && value == FIELD_MANAGER)
}

/// Whether the rules are as this project wrote them last: it owns them, and nobody else does.
pub(super) fn wrote_the_rules(metadata: &ObjectMeta) -> bool {
    let mut owners = owners_of_rules(metadata).peekable();
    owners.peek().is_some() && owners.all(is_ours)
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
}

fn owners_of_rules(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| {
            ["f:rules", "f:aggregationRule"].iter().any(|field| fields.get(field).is_some())
        })
    })
}
