//! The controlling owner of a Pod, a ReplicaSet or a Job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The owner that controls an object, reduced to the fields that identify a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct WorkloadOwner {
    pub(crate) kind: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
}

impl WorkloadOwner {
    /// Returns the owner whose reference has `controller: true`.
    pub(crate) fn from_meta(meta: &ObjectMeta) -> Option<Self> {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| owner.controller == Some(true)).map(Self::from_reference)
    }

    fn from_reference(owner: &OwnerReference) -> Self {
        Self {
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        }
    }

    /// Returns the owner as `kind/name` in mirrord's path syntax.
    ///
    /// Returns `None` for kinds and names that the syntax or the Session schema does not allow.
    pub(crate) fn path(&self) -> Option<String> {
        let kind = self.kind.to_ascii_lowercase();
        let is_valid_kind =
            (1..=63).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_valid_name = !self.name.is_empty()
            && self.name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
            });
        // The limit on the kind keeps the path, with the name of a container, within the 400
        // characters of the schema.
        (is_valid_kind && is_valid_name).then(|| format!("{kind}/{}", self.name))
    }
}
