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
use kube::{
    Client, Resource,
    api::{GetParams, Request},
};
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
    /// Only the fields that the controller reads are kept. The API server stores times in templates
    /// of a Pod and of its volumes that this program cannot represent.
    pub(crate) fn parse(self) -> Option<Job> {
        let Self { metadata, spec, status } = self;
        let spec =
            json!({ "suspend": spec["suspend"], "template": agent_template(&spec["template"]) });
        let conditions = items(&status["conditions"], &["type", "status"]);
        parse_object(&metadata, &spec, &json!({ "conditions": conditions }))
    }
}

/// Returns the parts of a Pod template by which an agent is recognised.
fn agent_template(template: &Value) -> Value {
    let (metadata, pod) = (&template["metadata"], &template["spec"]);
    let mut containers = items(&pod["containers"], &["name", "image", "command", "args"]);
    for (container, stored) in containers.iter_mut().zip(array(&pod["containers"])) {
        container["env"] = items(&stored["env"], &["name"]).into();
    }
    json!({
        "metadata": { "labels": metadata["labels"], "annotations": metadata["annotations"] },
        "spec": {
            "containers": containers,
            "nodeName": pod["nodeName"],
            "nodeSelector": pod["nodeSelector"],
        },
    })
}

/// Returns the items of a list with some of their fields.
fn items(list: &Value, fields: &[&str]) -> Vec<Value> {
    let item = |item: &Value| {
        let fields = fields.iter().map(|field| ((*field).to_owned(), item[*field].clone()));
        Value::Object(fields.collect())
    };
    array(list).iter().map(item).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An object of which only the metadata is read.
#[derive(Debug, Deserialize)]
struct StoredMetadata {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
}

/// Reads the metadata of an object, or returns `None` if the object does not exist.
pub(crate) async fn get_metadata<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let request = Request::new(K::url_path(&(), namespace));
    let request = request.get_metadata(name, &GetParams::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    match client.request::<StoredMetadata>(request).await {
        Ok(object) => Ok(Some(object.metadata)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
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
        let volume = json!({ "name": "v", "ephemeral": { "volumeClaimTemplate": {
            "metadata": { "creationTimestamp": LATE }, "spec": {},
        } } });
        let template = json!({
            "metadata": { "creationTimestamp": LATE, "annotations": { "a": "b" }, "managedFields": 7 },
            "spec": {
                "nodeName": "node-1", "volumes": [volume],
                "containers": [{ "name": "mirrord-agent", "env": [{ "name": "E", "value": "s" }] }],
            },
        });
        let mut job = object(&json!({ "template": template, "suspend": true }));
        let condition = json!({ "type": "Failed", "status": "True", "lastProbeTime": LATE });
        job["status"] = json!({ "conditions": [condition], "startTime": LATE });
        let job: StoredJob = serde_json::from_value(job).unwrap();
        let job = job.parse().unwrap();
        let spec = job.spec.unwrap();
        let annotations = spec.template.metadata.unwrap().annotations.unwrap();
        assert_eq!((&*annotations["a"], spec.suspend), ("b", Some(true)));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.node_name.as_deref(), Some("node-1"));
        assert_eq!(pod.containers[0].env.as_ref().unwrap()[0].name, "E");
        assert_eq!(job.status.unwrap().conditions.unwrap()[0].type_, "Failed");
        let mut pod = object(&json!({ "containers": [] }));
        let running = json!({ "running": { "startedAt": LATE } });
        pod["status"] = json!({ "containerStatuses": [
            { "name": "main", "containerID": "containerd://x", "state": running },
        ] });
        let pod: StoredPod = serde_json::from_value(pod).unwrap();
        assert_eq!(pod.into_cached().unwrap().containers.len(), 1);
    }

    #[test]
    fn rejects_invalid_session() {
        let session: StoredSession = serde_json::from_value(object(&json!([]))).unwrap();
        assert!(session.parse().is_none());
    }
}
