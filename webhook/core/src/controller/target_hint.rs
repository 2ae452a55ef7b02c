//! Where to look for the target of an agent that is about to start.

use std::net::IpAddr;

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::EnvVar},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{PodParts, PodView, agent::node};
use crate::agents::{self, ContainerId, Look, Reach, job_agent};

/// The addresses of the target's Pod, as the agent is told them.
const ADDRESSES: &str = "MIRRORD_AGENT_POD_IPS";

/// Where to look for a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sought {
    /// A container on a node.
    Container {
        /// The container.
        id: ContainerId,
        /// The node.
        node: String,
        /// The address of its Pod, if the agent is told one.
        address: Option<IpAddr>,
    },
    /// A Pod that is known already.
    Pod(PodView),
}

impl Sought {
    /// The target of an agent that is a Job; none if it has none, or says too little of it to be
    /// found at once.
    #[must_use]
    pub fn of_job(job: &Job) -> Option<Self> {
        let Look::Agent(agents::Agent { reach: Reach::Container(id) }) = job_agent(job) else {
            return None;
        };
        let pod = job.spec.as_ref()?.template.spec.as_ref()?;
        let variables = pod.containers.iter().flat_map(|it| it.env.iter().flatten());
        Some(Self::Container {
            id,
            node: node(pod).filter(|node| is_name(node))?,
            address: variables.into_iter().find_map(address),
        })
    }

    /// The Pod that an agent is added to.
    #[must_use]
    pub fn of_pod(meta: &ObjectMeta, parts: &PodParts) -> Option<Self> {
        PodView::of(meta, parts).map(Self::Pod)
    }
}

/// The first of them: the one that a Pod can be selected by.
fn address(variable: &EnvVar) -> Option<IpAddr> {
    let addresses = variable.value.as_ref().filter(|_| variable.name == ADDRESSES)?;
    addresses.split(',').next()?.trim().parse().ok()
}

/// It goes into a selector.
fn is_name(node: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&node.len()) && node.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::fixtures::{DEFAULT, TARGETLESS, job, value};

    fn changed(change: impl Fn(&mut Value)) -> Option<Sought> {
        let mut object = value(DEFAULT);
        change(&mut object["spec"]["template"]["spec"]);
        Sought::of_job(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn of_what_mirrord_sends() {
        let Some(Sought::Container { id, node, address }) = changed(|_| ()) else {
            panic!();
        };
        assert_eq!(id.to_string(), format!("containerd://{}", "a1b2c3d4".repeat(8)));
        assert_eq!(node, "node-1");
        assert_eq!(address, Some([10, 1, 0, 10].into()));
        assert_eq!(Sought::of_job(&job(TARGETLESS)), None);
    }

    #[test]
    fn what_is_not_sought() {
        let node = |to: &'static str| {
            move |pod: &mut Value| pod["nodeSelector"]["kubernetes.io/hostname"] = json!(to)
        };
        let cases: [(&str, Option<Sought>); 5] = [
            ("no node", changed(|pod| pod["nodeSelector"] = json!(null))),
            ("a selector for a node", changed(node("a,b=c"))),
            ("an empty node", changed(node(""))),
            (
                "an operator's",
                changed(|pod| {
                    pod["containers"][0]["env"][0]["name"] = json!("AGENT_OPERATOR_CERT_ENV");
                }),
            ),
            (
                "nonsense for a container",
                changed(|pod| pod["containers"][0]["args"][6] = json!("../x")),
            ),
        ];
        for (name, found) in cases {
            assert_eq!(found, None, "{name}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.1.0.10", Some("10.1.0.10")),
            ("10.1.0.10,fd00::1", Some("10.1.0.10")),
            (" fd00::1 ", Some("fd00::1")),
            ("", None),
            ("10.1.0.10=x", None),
            ("a,10.1.0.10", None),
        ] {
            let variable =
                EnvVar { name: ADDRESSES.into(), value: Some(text.into()), ..EnvVar::default() };
            assert_eq!(address(&variable), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
