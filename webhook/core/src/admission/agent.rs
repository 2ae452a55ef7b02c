//! Stamps agents with their requester when they are created.
//!
//! No decision here denies a write. An agent without a stamp is shown as unverified, and the run of
//! a developer must not depend on the webhook.

use json_patch::{
    AddOperation, PatchOperation, RemoveOperation,
    jsonptr::{PointerBuf, Token},
};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{EphemeralContainer, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use super::Decision;
use crate::{
    agents::{
        REQUESTER_ANNOTATION, REQUESTER_ENV, SESSION_ANNOTATION, Stamp, agent_containers,
        may_become_agent,
    },
    identity::Requester,
};

/// Limit of the API server for all annotations of an object, in bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Stamps a new Job that is an agent, or can become one, with its requester.
///
/// Any other Job is allowed unchanged.
#[must_use]
pub fn on_job_create(job: &Job, requester: &Requester) -> Decision {
    if !may_become_agent(job) {
        return Decision::allow();
    }
    let sent = |key: &str| annotation(&job.metadata, key);
    let stamp = Stamp::encode(requester).filter(|stamp| fits(&job.metadata, stamp));
    let mut operations = Vec::new();
    if job.metadata.annotations.is_none() {
        operations.push(add(&["metadata", "annotations"], json!({})));
    }
    let path = ["metadata", "annotations", REQUESTER_ANNOTATION];
    match (&stamp, sent(REQUESTER_ANNOTATION)) {
        (Some(stamp), sent) if sent == Some(stamp) => {}
        (Some(stamp), _) => operations.push(add(&path, json!(stamp))),
        (None, Some(_)) => operations.push(remove(&path)),
        (None, None) => {}
    }
    let sends_binding = sent(SESSION_ANNOTATION).is_some() && !requester.is_controller();
    if sends_binding {
        operations.push(remove(&["metadata", "annotations", SESSION_ANNOTATION]));
    }
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    for key in [REQUESTER_ANNOTATION, SESSION_ANNOTATION] {
        if template.is_some_and(|template| annotation(template, key).is_some()) {
            operations.push(remove(&["spec", "template", "metadata", "annotations", key]));
        }
    }
    let decision = Decision::patch(operations);
    let forged = sent(REQUESTER_ANNOTATION).is_some_and(|sent| Some(sent) != stamp.as_ref());
    if forged || sends_binding {
        return decision.warn(format!(
            "annotations {REQUESTER_ANNOTATION} and {SESSION_ANNOTATION} are written by the cluster alone: the sent values are ignored"
        ));
    }
    decision
}

/// Restores the stamp and the binding of an updated Job. Only the controller writes the binding.
#[must_use]
pub fn on_job_update(job: &Job, old: &Job, requester: &Requester) -> Decision {
    let mut operations = Vec::new();
    let mut lacks_annotations = job.metadata.annotations.is_none();
    for key in [REQUESTER_ANNOTATION, SESSION_ANNOTATION] {
        if key == SESSION_ANNOTATION && requester.is_controller() {
            continue;
        }
        let path = ["metadata", "annotations", key];
        match (annotation(&job.metadata, key), annotation(&old.metadata, key)) {
            (sent, before) if sent == before => {}
            (_, Some(before)) => {
                if std::mem::take(&mut lacks_annotations) {
                    operations.push(add(&path[..2], json!({})));
                }
                operations.push(add(&path, json!(before)));
            }
            (_, None) => operations.push(remove(&path)),
        }
    }
    if operations.is_empty() {
        return Decision::allow();
    }
    Decision::patch(operations).warn(format!(
        "annotations {REQUESTER_ANNOTATION} and {SESSION_ANNOTATION} were restored: only the cluster writes them"
    ))
}

/// Stamps the agents among the ephemeral containers that an update adds.
#[must_use]
pub fn on_ephemeral_containers(pod: &Pod, old: &Pod, requester: &Requester) -> Decision {
    fn containers(pod: &Pod) -> &[EphemeralContainer] {
        let spec = pod.spec.as_ref();
        spec.and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
    }
    let known = |name: &str| containers(old).iter().any(|old| old.name == name);
    let stamp = Stamp::encode(requester);
    let mut operations = Vec::new();
    let mut forged = false;
    for (index, container) in agent_containers(containers(pod)) {
        if known(&container.name) {
            continue;
        }
        let index = index.to_string();
        let path = ["spec", "ephemeralContainers", index.as_str(), "env"];
        let env = container.env.as_deref();
        // Remove from last to first, so that the remaining indexes stay valid.
        for (position, _) in env
            .unwrap_or_default()
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, variable)| variable.name == REQUESTER_ENV)
        {
            forged = true;
            let position = position.to_string();
            operations.push(remove(&[path[0], path[1], path[2], path[3], &position]));
        }
        let Some(stamp) = &stamp else {
            continue;
        };
        let variable = json!({ "name": REQUESTER_ENV, "value": stamp });
        operations.push(if env.is_some() {
            add(&[path[0], path[1], path[2], path[3], "-"], variable)
        } else {
            add(&path, json!([variable]))
        });
    }
    let decision = Decision::patch(operations);
    if forged {
        return decision.warn(format!(
            "variable {REQUESTER_ENV} is written by the cluster alone: the sent value is ignored"
        ));
    }
    decision
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(key)
}

/// Returns whether the stamp leaves the annotations within the limit of the API server.
///
/// Annotations that exceed the limit without the stamp are left for the API server to reject.
fn fits(metadata: &ObjectMeta, stamp: &str) -> bool {
    let others = metadata.annotations.iter().flatten();
    let others: usize = others
        .filter(|(key, _)| *key != REQUESTER_ANNOTATION)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    others > MAX_ANNOTATIONS || others + REQUESTER_ANNOTATION.len() + stamp.len() <= MAX_ANNOTATIONS
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().map(|token| Token::new(*token)))
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    let path = pointer(path);
    PatchOperation::Add(AddOperation { path, value })
}

fn remove(path: &[&str]) -> PatchOperation {
    let path = pointer(path);
    PatchOperation::Remove(RemoveOperation { path })
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
