//! What is an agent, and what only looks like one.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{EnvVar, EphemeralContainer},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{LABEL, NAME_PREFIX, Reach};

const CONTAINER: &str = "mirrord-agent";
const COMMAND: &str = "./mirrord-agent";
/// Set by mirrord's own operator on agents of its own, which track sessions themselves; never by
/// the open-source CLI.
const OPERATORS: &str = "AGENT_OPERATOR_CERT_ENV";

/// What a Job looks like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Look {
    /// An agent of the open-source CLI.
    Agent(Agent),
    /// Named and labelled as one, and none; why.
    Lookalike(&'static str),
    /// None of ours.
    Other,
}

/// An agent of the open-source CLI.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// What it reaches.
    pub reach: Reach,
}

/// Whether it is named as mirrord names its agents: the prefix and ten letters and digits.
#[must_use]
pub fn is_agent_name(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX).is_some_and(|random| {
        random.len() == 10
            && random.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// What a Job looks like.
#[must_use]
pub fn job_agent(job: &Job) -> Look {
    if !has_label(&job.metadata) || !job.metadata.name.as_deref().is_some_and(is_agent_name) {
        return Look::Other;
    }
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut containers =
        pod.iter().flat_map(|pod| &pod.containers).filter(|container| container.name == CONTAINER);
    let Some(container) = containers.next() else {
        return Look::Lookalike("it has no container mirrord-agent");
    };
    if !is_command(container.command.as_ref()) {
        return Look::Lookalike("its command is not ./mirrord-agent");
    }
    if is_operators(container.env.as_ref()) {
        return Look::Lookalike("it is an agent of mirrord's own operator");
    }
    let reach = match Reach::of(container.args.as_deref().unwrap_or_default()) {
        Reach::Pod => Reach::Unreadable("it is a Job and its arguments say ephemeral".into()),
        reach => reach,
    };
    Look::Agent(Agent { reach })
}

/// The ephemeral containers of a Pod that are agents, with their places.
pub fn agent_containers(
    containers: &[EphemeralContainer],
) -> impl Iterator<Item = (usize, &EphemeralContainer)> {
    containers.iter().enumerate().filter(|(_, container)| {
        is_agent_name(&container.name)
            && is_command(container.command.as_ref())
            && !is_operators(container.env.as_ref())
    })
}

fn has_label(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.get(LABEL.0).is_some_and(|value| value == LABEL.1))
}

fn is_command(command: Option<&Vec<String>>) -> bool {
    command.is_some_and(|command| command == &[COMMAND])
}

fn is_operators(env: Option<&Vec<EnvVar>>) -> bool {
    env.is_some_and(|env| env.iter().any(|variable| variable.name == OPERATORS))
}

#[cfg(test)]
// One row a case.
#[allow(clippy::large_stack_arrays)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::fixtures::{DEFAULT, EPHEMERAL, RUNNING, TARGETLESS, job, value};

    fn changed(path: &str, to: Value) -> Job {
        let mut object = value(DEFAULT);
        *object.pointer_mut(path).unwrap() = to;
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_mirrord_sends() {
        for (fixture, targeted) in [(DEFAULT, true), (RUNNING, true), (TARGETLESS, false)] {
            let Look::Agent(Agent { reach }) = job_agent(&job(fixture)) else {
                panic!("{fixture}");
            };
            match reach {
                Reach::Container(id) => {
                    assert!(targeted);
                    let id = id.to_string();
                    assert_eq!(id, format!("containerd://{}", "a1b2c3d4".repeat(8)));
                }
                reach => assert!(!targeted && reach == Reach::Targetless),
            }
        }
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_str(EPHEMERAL).unwrap();
        let containers = pod.spec.unwrap().ephemeral_containers.unwrap();
        let agents: Vec<_> = agent_containers(&containers).collect();
        assert_eq!(agents.len(), 1);
        assert_eq!(agents[0].1.name, "mirrord-agent-w6vxft9ixh");
    }

    #[test]
    fn strangers() {
        let container = "/spec/template/spec/containers/0";
        let at = |path: &str| format!("{container}/{path}");
        let cases = [
            ("labelled otherwise", changed("/metadata/labels/app", json!("shop")), None),
            ("a migration", changed("/metadata/name", json!("migrate")), None),
            ("a name too short", changed("/metadata/name", json!("mirrord-agent-abc")), None),
            ("capitals", changed("/metadata/name", json!("mirrord-agent-ABCDEFGHIJ")), None),
            ("no name yet", changed("/metadata/name", json!(null)), None),
            (
                "no containers",
                changed("/spec/template/spec/containers", json!([])),
                Some("no container"),
            ),
            ("no pod", changed("/spec/template/spec", json!(null)), Some("no container")),
            ("another container", changed(&at("name"), json!("main")), Some("no container")),
            (
                "another command",
                changed(&at("command"), json!(["sh", "-c", "./mirrord-agent"])),
                Some("command"),
            ),
            ("no command", changed(&at("command"), json!(null)), Some("command")),
            (
                "the operator's",
                changed(&at("env/0/name"), json!("AGENT_OPERATOR_CERT_ENV")),
                Some("operator"),
            ),
        ];
        for (name, job, why) in cases {
            match (job_agent(&job), why) {
                (Look::Other, None) => {}
                (Look::Lookalike(found), Some(why)) => {
                    assert!(found.contains(why), "{name}: {found}");
                }
                (look, _) => panic!("{name}: {look:?}"),
            }
        }
        for args in [json!(null), json!([]), json!(["ephemeral"])] {
            let look = job_agent(&changed(&at("args"), args));
            let unreadable = matches!(look, Look::Agent(Agent { reach: Reach::Unreadable(_) }));
            assert!(unreadable);
        }
    }
}
