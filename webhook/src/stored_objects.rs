//! Objects as the API server stores them, read so that no single one can stop a watch.
//!
//! Nothing is typed but what the API server itself writes: who may write an object chooses the
//! times in `managedFields` too, and Go takes some that can't be held here.

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    serde_json::Map,
};
use kube::Resource;
use mirrord_sessions_core::{
    controller::{CachedPod, PartialPod, PartialPodSpec, PartialPodStatus},
    text::printable,
};
use mirrord_sessions_crds::{Session, SessionPolicy};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Value, json};

/// Metadata without who wrote which field.
pub(crate) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut fields = Map::deserialize(deserializer)?;
    fields.remove("managedFields");
    serde_json::from_value(Value::Object(fields)).map_err(D::Error::custom)
}

/// A Session.
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
    /// The Session, or why it isn't one.
    pub(crate) fn read(self) -> Result<Session, String> {
        typed(&self.metadata, &self.spec, &self.status)
    }
}

/// A SessionPolicy.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = SessionPolicy)]
pub(crate) struct StoredPolicy {
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Value,
}

/// A Job.
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
    /// The Job, or why it isn't one. Of its template's metadata only labels and annotations: the
    /// rest is the client's to fill with anything, and means nothing.
    pub(crate) fn read(mut self) -> Result<Job, String> {
        let template = self.spec.pointer_mut("/template/metadata");
        if let Some(template) = template.and_then(Value::as_object_mut) {
            template.retain(|field, _| field == "labels" || field == "annotations");
        }
        typed(&self.metadata, &self.spec, &self.status)
    }
}

/// A Pod, without what nobody here reads.
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
    pub(crate) fn to_cached(self) -> Option<CachedPod> {
        let parts = PartialPod { spec: self.spec, status: self.status };
        CachedPod::from_parts(&self.metadata, &parts)
    }
}

fn typed<K: DeserializeOwned>(
    metadata: &ObjectMeta,
    spec: &Value,
    status: &Value,
) -> Result<K, String> {
    let object = json!({ "metadata": metadata, "spec": spec, "status": status });
    serde_json::from_value(object).map_err(|error| printable(&error.to_string(), 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time that Go holds and this program can't.
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
    fn times_of_a_clients_choice_stop_nothing() {
        let session: StoredSession =
            serde_json::from_value(object(&json!({ "target": "pod/x" }))).unwrap();
        assert!(session.metadata.creation_timestamp.is_some());
        assert_eq!(session.read().unwrap().spec.target, "pod/x");
        let policy: StoredPolicy = serde_json::from_value(object(&json!({}))).unwrap();
        assert_eq!(policy.metadata.name.as_deref(), Some("a"));
        let template = json!({
            "metadata": { "creationTimestamp": LATE, "annotations": { "a": "b" }, "managedFields": 7 },
            "spec": { "containers": [] },
        });
        let job: StoredJob =
            serde_json::from_value(object(&json!({ "template": template }))).unwrap();
        let template = job.read().unwrap().spec.unwrap().template;
        let annotations = template.metadata.unwrap().annotations.unwrap();
        assert_eq!(annotations["a"], "b");
    }

    #[test]
    fn what_is_none_says_so() {
        let session: StoredSession = serde_json::from_value(object(&json!([]))).unwrap();
        assert!(session.read().is_err());
    }
}
