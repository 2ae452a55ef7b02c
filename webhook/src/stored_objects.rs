//! Lenient types for objects of the API server, so that no single object can stop a watch.
//!
//! Only the fields that the API server itself writes are typed. Any client that writes an object
//! controls the times in `managedFields` too, and Go accepts times that this program cannot
//! represent.

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    serde_json::Map,
};
use kube::Resource;
use mirrord_sessions_core::controller::{CachedPod, PartialPod, PartialPodSpec, PartialPodStatus};
use mirrord_sessions_crds::{Session, SessionPolicy};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};

/// Deserializes metadata without `managedFields`.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut fields = Map::deserialize(deserializer)?;
    fields.remove("managedFields");
    serde_json::from_value(Value::Object(fields)).map_err(D::Error::custom)
}

/// A Session with unchecked spec and status.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Session)]
pub(crate) struct StoredSession {
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl StoredSession {
    /// Returns the parsed Session, or `None` if a field is malformed.
    pub(crate) fn parse(self) -> Option<Session> {
        parse_object(&self.metadata, &self.spec, &self.status)
    }
}

/// A SessionPolicy with an unchecked spec.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = SessionPolicy)]
pub(crate) struct StoredPolicy {
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Value,
}

/// A Job with unchecked spec and status.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
pub(crate) struct StoredJob {
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl StoredJob {
    /// Returns the parsed Job, or `None` if a field is malformed.
    ///
    /// Only labels and annotations of the template's metadata are kept, since clients may fill the
    /// other fields with anything.
    pub(crate) fn parse(mut self) -> Option<Job> {
        let template = self.spec.pointer_mut("/template/metadata");
        if let Some(template) = template.and_then(Value::as_object_mut) {
            template.retain(|field, _| field == "labels" || field == "annotations");
        }
        parse_object(&self.metadata, &self.spec, &self.status)
    }
}

/// A Pod with the fields that this process reads.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub(crate) struct StoredPod {
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    spec: Option<PartialPodSpec>,
    status: Option<PartialPodStatus>,
}

impl StoredPod {
    /// Returns the fields of the Pod that the controller caches.
    pub(crate) fn into_cached(self) -> Option<CachedPod> {
        let parts = PartialPod { spec: self.spec, status: self.status };
        CachedPod::from_parts(&self.metadata, &parts)
    }
}

// The parser's error is dropped, since it quotes the value of the malformed field.
fn parse_object<K: DeserializeOwned>(
    metadata: &ObjectMeta,
    spec: &Value,
    status: &Value,
) -> Option<K> {
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time that Go can represent and this program can't.
    const LATE: &str = "9999-12-31T23:59:59Z";

    fn object(spec: &Value) -> Value {
        json!({
            "metadata": {
                "name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{ "manager": "x", "operation": "Update", "time": LATE }],
            },
            "spec": spec,
        })
    }

    #[test]
    fn ignores_times_that_clients_control() {
        let session: StoredSession =
            serde_json::from_value(object(&json!({ "target": "pod/x" }))).unwrap();
        assert!(session.metadata.creation_timestamp.is_some());
        assert_eq!(session.parse().unwrap().spec.target, "pod/x");
        let policy: StoredPolicy = serde_json::from_value(object(&json!({}))).unwrap();
        assert_eq!(policy.metadata.name.as_deref(), Some("a"));
        let template = json!({
            "metadata": { "creationTimestamp": LATE, "annotations": { "a": "b" }, "managedFields": 7 },
            "spec": { "containers": [] },
        });
        let job: StoredJob =
            serde_json::from_value(object(&json!({ "template": template }))).unwrap();
        let template = job.parse().unwrap().spec.unwrap().template;
        let annotations = template.metadata.unwrap().annotations.unwrap();
        assert_eq!(annotations["a"], "b");
    }

    #[test]
    fn rejects_invalid_session() {
        let session: StoredSession = serde_json::from_value(object(&json!([]))).unwrap();
        assert!(session.parse().is_none());
    }
}
