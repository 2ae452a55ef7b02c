//! The state of an agent as its Pods show it.
//!
//! The Job of an agent says nothing of whether its agent runs: it may have no Pod, its Pod may wait
//! for an image, and a sidecar may outlive the agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    pods::{PartialContainerStatus, PartialPodSpec, PartialPodStatus},
    workload_owner::WorkloadOwner,
};
use crate::{agents::AGENT_CONTAINER, text::printable};

/// The maximum length of a reason, in characters.
const MAX_REASON: usize = 200;

/// The state of an agent that has not ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AgentPhase {
    /// The agent does not run yet, for this reason.
    Pending(String),
    /// The agent runs.
    Running,
}

/// The state of a Pod of an agent Job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AgentPodState {
    /// The agent has not ended.
    Live(AgentPhase),
    /// The Pod is being deleted, or the agent in it has ended.
    Ended,
}

/// A Pod of a Job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct JobPod {
    pub(crate) job: Box<str>,
    pub(crate) job_uid: Box<str>,
    pub(crate) state: AgentPodState,
}

impl JobPod {
    /// Returns the state of a Pod that a Job controls.
    pub(super) fn from_parts(
        meta: &ObjectMeta,
        owner: Option<&WorkloadOwner>,
        spec: &PartialPodSpec,
        status: &PartialPodStatus,
    ) -> Option<Self> {
        let owner = owner.filter(|owner| *owner.kind == *"Job")?;
        let state = if meta.deletion_timestamp.is_some() {
            AgentPodState::Ended
        } else {
            pod_state(spec, status)
        };
        Some(Self { job: owner.name.clone(), job_uid: owner.uid.clone(), state })
    }
}

fn pod_state(spec: &PartialPodSpec, status: &PartialPodStatus) -> AgentPodState {
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return AgentPodState::Ended;
    }
    let agent = status.container_statuses.iter().find(|status| status.name == AGENT_CONTAINER);
    let has_agent = spec.containers.iter().any(|container| container.name == AGENT_CONTAINER);
    let phase = match agent {
        Some(PartialContainerStatus { state, .. }) if state.terminated.is_some() => {
            return AgentPodState::Ended;
        }
        Some(PartialContainerStatus { state, .. }) if state.running => AgentPhase::Running,
        None if !has_agent && status.phase.as_deref() == Some("Running") => AgentPhase::Running,
        agent => {
            let waiting = agent.and_then(|agent| agent.state.waiting.as_ref());
            AgentPhase::Pending(waiting_reason(waiting, status))
        }
    };
    AgentPodState::Live(phase)
}

/// Returns why the agent of a Pod does not run: the reason of its container, or of the scheduler.
fn waiting_reason(
    waiting: Option<&super::pods::PartialReason>,
    status: &PartialPodStatus,
) -> String {
    let unscheduled = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let (what, reason, message) = if let Some(waiting) = waiting {
        ("its container waits", &waiting.reason, &waiting.message)
    } else if let Some(condition) = unscheduled {
        ("its Pod has no node", &condition.reason, &condition.message)
    } else {
        return "its Pod is starting".to_owned();
    };
    let details: Vec<&str> = [reason, message].into_iter().flatten().map(String::as_str).collect();
    if details.is_empty() {
        return what.to_owned();
    }
    // Escapes may make the text longer than the API allows.
    let reason = printable(&format!("{what}: {}", details.join(": ")), MAX_REASON);
    reason.chars().take(MAX_REASON).collect()
}

/// Returns the phase of an agent Job that has not finished, or `None` if all of its Pods ended.
pub(super) fn phase_of_job<'a>(
    suspended: bool,
    deleting: bool,
    pods: impl Iterator<Item = &'a AgentPodState>,
) -> Option<AgentPhase> {
    let mut pending = None;
    let mut any = false;
    for pod in pods {
        any = true;
        match pod {
            AgentPodState::Live(AgentPhase::Running) => return Some(AgentPhase::Running),
            AgentPodState::Live(phase) => pending = Some(phase.clone()),
            AgentPodState::Ended => {}
        }
    }
    if any || deleting {
        return pending;
    }
    let reason = if suspended {
        "its Job is suspended"
    } else {
        "its Job has no Pod; the Events of the Job show the reason"
    };
    Some(AgentPhase::Pending(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(object: &Value) -> Option<AgentPodState> {
        let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let owner = WorkloadOwner::from_meta(&meta);
        let spec = serde_json::from_value(object["spec"].clone()).unwrap();
        let status = serde_json::from_value(object["status"].clone()).unwrap();
        JobPod::from_parts(&meta, owner.as_ref(), &spec, &status).map(|pod| pod.state)
    }

    fn pod(status: &Value) -> Value {
        json!({
            "metadata": { "ownerReferences": [
                { "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true }
            ] },
            "spec": { "containers": [{ "name": "istio-proxy" }, { "name": "mirrord-agent" }] },
            "status": status,
        })
    }

    fn containers(agent: &Value) -> Value {
        json!({ "phase": "Running", "containerStatuses": [
            { "name": "istio-proxy", "state": { "running": { "startedAt": "99999-12-31T23:59:59Z" } } },
            { "name": "mirrord-agent", "state": agent },
        ] })
    }

    #[test]
    fn reads_state_of_pods() {
        let pending = |reason: &str| AgentPodState::Live(AgentPhase::Pending(reason.into()));
        let running = || AgentPodState::Live(AgentPhase::Running);
        let unschedulable = json!({ "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available", "lastTransitionTime": "99999-01-01T00:00:00Z",
        }] });
        let image =
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
        for (name, status, expected) in [
            ("without status", json!({}), pending("its Pod is starting")),
            ("running", containers(&json!({ "running": {} })), running()),
            (
                "terminated beside a sidecar",
                containers(&json!({ "terminated": { "exitCode": 1, "finishedAt": "x" } })),
                AgentPodState::Ended,
            ),
            (
                "without an image",
                containers(&image),
                pending("its container waits: ImagePullBackOff: no such image"),
            ),
            ("waiting", containers(&json!({ "waiting": {} })), pending("its container waits")),
            (
                "without a node",
                unschedulable,
                pending("its Pod has no node: Unschedulable: 0/3 nodes are available"),
            ),
            ("failed", json!({ "phase": "Failed" }), AgentPodState::Ended),
            ("succeeded", json!({ "phase": "Succeeded" }), AgentPodState::Ended),
        ] {
            assert_eq!(state(&pod(&status)), Some(expected), "{name}");
        }
        let mut deleted = pod(&containers(&json!({ "running": {} })));
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(state(&deleted), Some(AgentPodState::Ended));
        let mut other = pod(&containers(&json!({ "running": {} })));
        other["spec"]["containers"] = json!([{ "name": "main" }]);
        other["status"]["containerStatuses"] = json!([]);
        assert_eq!(state(&other), Some(running()), "a Job without an agent");
        other["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
        assert_eq!(state(&other), None);
        let long = json!({ "waiting": { "message": "x\u{202e}".repeat(1000) } });
        let Some(AgentPodState::Live(AgentPhase::Pending(reason))) =
            state(&pod(&containers(&long)))
        else {
            panic!("the agent waits");
        };
        assert!(reason.len() < 2000 && !reason.contains('\u{202e}'));
    }

    #[test]
    fn combines_states_of_pods() {
        use AgentPodState::{Ended, Live};
        let running = || Live(AgentPhase::Running);
        let waiting = || Live(AgentPhase::Pending("w".into()));
        let pending = |reason: &str| Some(AgentPhase::Pending(reason.into()));
        for (suspended, deleting, pods, expected) in [
            (
                false,
                false,
                vec![],
                pending("its Job has no Pod; the Events of the Job show the reason"),
            ),
            (true, false, vec![], pending("its Job is suspended")),
            (false, true, vec![], None),
            (false, true, vec![running()], Some(AgentPhase::Running)),
            (false, true, vec![Ended], None),
            (false, false, vec![Ended], None),
            (false, false, vec![Ended, waiting()], pending("w")),
            (false, false, vec![waiting(), running(), Ended], Some(AgentPhase::Running)),
        ] {
            let found = phase_of_job(suspended, deleting, pods.iter());
            assert_eq!(found, expected, "{suspended} {deleting} {pods:?}");
        }
    }
}
