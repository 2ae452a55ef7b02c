//! The namespace and name of an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The namespace and name of an object, as a key of maps.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamespacedName {
    /// The namespace of the object.
    pub namespace: Box<str>,
    /// The name of the object.
    pub name: Box<str>,
}

impl NamespacedName {
    /// Creates a key from a namespace and a name.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Returns the key of an object, or `None` if its namespace or name is missing.
    #[must_use]
    pub fn from_meta(meta: &ObjectMeta) -> Option<Self> {
        Some(Self::new(meta.namespace.as_deref()?, meta.name.as_deref()?))
    }
}
