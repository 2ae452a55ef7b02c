//! Who asked for an agent, written on it as it is created. Nothing here ever refuses: an agent
//! without a stamp is shown as unverified, and a developer's run must not depend on this.

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
    agents::{Look, REQUESTER, REQUESTER_VARIABLE, SESSION, Stamp, agent_containers, job_agent},
    identity::Requester,
};

/// What the API server takes for all annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Stamps a new agent Job; every other Job is left as it is.
#[must_use]
pub fn on_job_create(job: &Job, requester: &Requester) -> Decision {
    if !matches!(job_agent(job), Look::Agent(_)) {
        return Decision::allow();
    }
    let sent = |key: &str| annotation(&job.metadata, key);
    let stamp = Stamp::text(requester).filter(|stamp| fits(&job.metadata, stamp));
    let mut operations = Vec::new();
    if job.metadata.annotations.is_none() {
        operations.push(add(&["metadata", "annotations"], json!({})));
    }
    let path = ["metadata", "annotations", REQUESTER];
    match (&stamp, sent(REQUESTER)) {
        (Some(stamp), sent) if sent == Some(stamp) => {}
        (Some(stamp), _) => operations.push(add(&path, json!(stamp))),
        (None, Some(_)) => operations.push(remove(&path)),
        (None, None) => {}
    }
    let bound = sent(SESSION).is_some() && !requester.is_controller();
    if bound {
        operations.push(remove(&["metadata", "annotations", SESSION]));
    }
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    for key in [REQUESTER, SESSION] {
        if template.is_some_and(|template| annotation(template, key).is_some()) {
            operations.push(remove(&["spec", "template", "metadata", "annotations", key]));
        }
    }
    let decision = Decision::patch(operations);
    let forged = sent(REQUESTER).is_some_and(|sent| Some(sent) != stamp.as_ref());
    if forged || bound {
        return decision.warn(format!(
            "annotations {REQUESTER} and {SESSION} are the cluster's to write: what was sent is ignored"
        ));
    }
    decision
}

/// Puts stamp and binding of an updated Job back as they were. The binding is the controller's to
/// write.
#[must_use]
pub fn on_job_update(job: &Job, old: &Job, requester: &Requester) -> Decision {
    let mut operations = Vec::new();
    let mut lost = job.metadata.annotations.is_none();
    for key in [REQUESTER, SESSION] {
        if key == SESSION && requester.is_controller() {
            continue;
        }
        let path = ["metadata", "annotations", key];
        match (annotation(&job.metadata, key), annotation(&old.metadata, key)) {
            (sent, before) if sent == before => {}
            (_, Some(before)) => {
                if std::mem::take(&mut lost) {
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
    Decision::patch(operations)
        .warn(format!("annotations {REQUESTER} and {SESSION} kept as the cluster wrote them"))
}

/// Stamps the agents among the ephemeral containers that an update adds.
#[must_use]
pub fn on_ephemeral_containers(pod: &Pod, old: &Pod, requester: &Requester) -> Decision {
    fn containers(pod: &Pod) -> &[EphemeralContainer] {
        let spec = pod.spec.as_ref();
        spec.and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
    }
    let known = |name: &str| containers(old).iter().any(|old| old.name == name);
    let stamp = Stamp::text(requester);
    let mut operations = Vec::new();
    let mut forged = false;
    for (place, container) in agent_containers(containers(pod)) {
        if known(&container.name) {
            continue;
        }
        let place = place.to_string();
        let path = ["spec", "ephemeralContainers", place.as_str(), "env"];
        let env = container.env.as_deref();
        // From the last to the first, so that the places stay true.
        for (at, _) in env
            .unwrap_or_default()
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, variable)| variable.name == REQUESTER_VARIABLE)
        {
            forged = true;
            let at = at.to_string();
            operations.push(remove(&[path[0], path[1], path[2], path[3], &at]));
        }
        let Some(stamp) = &stamp else {
            continue;
        };
        let variable = json!({ "name": REQUESTER_VARIABLE, "value": stamp });
        operations.push(if env.is_some() {
            add(&[path[0], path[1], path[2], path[3], "-"], variable)
        } else {
            add(&path, json!([variable]))
        });
    }
    let decision = Decision::patch(operations);
    if forged {
        return decision.warn(format!(
            "variable {REQUESTER_VARIABLE} is the cluster's to write: what was sent is ignored"
        ));
    }
    decision
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(key)
}

/// Whether the API server would take the annotations with this stamp.
fn fits(metadata: &ObjectMeta, stamp: &str) -> bool {
    let others = metadata.annotations.iter().flatten();
    let others: usize = others
        .filter(|(key, _)| *key != REQUESTER)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    others > MAX_ANNOTATIONS || others + REQUESTER.len() + stamp.len() <= MAX_ANNOTATIONS
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
