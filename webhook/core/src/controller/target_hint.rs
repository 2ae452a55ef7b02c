//! Hints in a new agent that let admission look up its target.

use std::net::IpAddr;

use k8s_openapi::api::{batch::v1::Job, core::v1::EnvVar};

use super::{CachedPod, agent::pod_node};
use crate::agents::{ContainerId, JobClass, TargetKind, classify_job};

/// Environment variable that passes the addresses of the target Pod to the agent.
const POD_IPS_ENV: &str = "MIRRORD_AGENT_POD_IPS";

/// Information that identifies the target of a new agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetHint {
    /// A container on a node.
    Container {
        /// The ID of the container.
        id: ContainerId,
        /// The name of the node.
        node: String,
        /// The address of the Pod, if the agent receives one.
        address: Option<IpAddr>,
    },
    /// The Pod that an ephemeral agent is added to.
    Pod(CachedPod),
}

impl TargetHint {
    /// Returns the hint in an agent Job.
    ///
    /// Returns `None` for a targetless agent and for a Job that does not name container and node.
    #[must_use]
    pub fn from_job(job: &Job) -> Option<Self> {
        let JobClass::Agent(TargetKind::Container(id)) = classify_job(job) else {
            return None;
        };
        let pod = job.spec.as_ref()?.template.spec.as_ref()?;
        let env = pod.containers.iter().flat_map(|container| container.env.iter().flatten());
        Some(Self::Container {
            id,
            node: pod_node(pod).filter(|node| is_node_name(node))?,
            address: env.into_iter().find_map(pod_address),
        })
    }
}

/// Returns the first address, the only one that the field selector `status.podIP` matches.
fn pod_address(variable: &EnvVar) -> Option<IpAddr> {
    let addresses = variable.value.as_ref().filter(|_| variable.name == POD_IPS_ENV)?;
    addresses.split(',').next()?.trim().parse().ok()
}

/// Returns whether the text is a valid node name, which is safe in a field selector.
fn is_node_name(node: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&node.len()) && node.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::fixtures::{DEFAULT, TARGETLESS, job, value};

    fn hint_with(change: impl Fn(&mut Value)) -> Option<TargetHint> {
        let mut object = value(DEFAULT);
        change(&mut object["spec"]["template"]["spec"]);
        TargetHint::from_job(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn reads_hint_from_agent_job() {
        let Some(TargetHint::Container { id, node, address }) = hint_with(|_| ()) else {
            panic!();
        };
        assert_eq!(id.to_string(), format!("containerd://{}", "a1b2c3d4".repeat(8)));
        assert_eq!(node, "node-1");
        assert_eq!(address, Some([10, 1, 0, 10].into()));
        assert_eq!(TargetHint::from_job(&job(TARGETLESS)), None);
    }

    #[test]
    fn ignores_jobs_without_usable_hint() {
        let node = |to: &'static str| {
            move |pod: &mut Value| pod["nodeSelector"]["kubernetes.io/hostname"] = json!(to)
        };
        let cases: [(&str, Option<TargetHint>); 5] = [
            ("no node", hint_with(|pod| pod["nodeSelector"] = json!(null))),
            ("field selector as a node", hint_with(node("a,b=c"))),
            ("empty node", hint_with(node(""))),
            (
                "agent of the operator",
                hint_with(|pod| {
                    pod["containers"][0]["env"][0]["name"] = json!("AGENT_OPERATOR_CERT_ENV");
                }),
            ),
            (
                "invalid container ID",
                hint_with(|pod| pod["containers"][0]["args"][6] = json!("../x")),
            ),
        ];
        for (name, found) in cases {
            assert_eq!(found, None, "{name}");
        }
    }

    #[test]
    fn parses_first_address() {
        for (text, expected) in [
            ("10.1.0.10", Some("10.1.0.10")),
            ("10.1.0.10,fd00::1", Some("10.1.0.10")),
            (" fd00::1 ", Some("fd00::1")),
            ("", None),
            ("10.1.0.10=x", None),
            ("a,10.1.0.10", None),
        ] {
            let variable =
                EnvVar { name: POD_IPS_ENV.into(), value: Some(text.into()), ..EnvVar::default() };
            assert_eq!(
                pod_address(&variable),
                expected.map(|text| text.parse().unwrap()),
                "{text}"
            );
        }
    }
}
