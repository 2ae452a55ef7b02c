//! Recognition of agents by their Jobs and ephemeral containers.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{EnvVar, EphemeralContainer},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{LABEL, NAME_PREFIX, TargetKind};

/// The name of the container that runs the agent of a Job.
pub const AGENT_CONTAINER: &str = "mirrord-agent";
const COMMAND: &str = "./mirrord-agent";
/// Environment variable that mirrord's own operator sets on its agents.
///
/// The open-source CLI never sets it. The operator tracks the sessions of its agents itself.
const OPERATOR_ENV: &str = "AGENT_OPERATOR_CERT_ENV";

/// The classification of a Job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobClass {
    /// An agent of the open-source CLI with this target.
    Agent(TargetKind),
    /// A Job with the name and label of an agent that is not one, with the reason.
    Lookalike(&'static str),
    /// A Job that is unrelated to mirrord.
    Other,
}

/// Returns whether the name consists of mirrord's prefix and ten lower-case letters or digits.
#[must_use]
pub fn is_agent_name(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX).is_some_and(|suffix| {
        suffix.len() == 10
            && suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// Classifies a Job by its label, name, container, command and environment.
#[must_use]
pub fn classify_job(job: &Job) -> JobClass {
    if !has_label(&job.metadata) || !job.metadata.name.as_deref().is_some_and(is_agent_name) {
        return JobClass::Other;
    }
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut containers = pod
        .iter()
        .flat_map(|pod| &pod.containers)
        .filter(|container| container.name == AGENT_CONTAINER);
    let Some(container) = containers.next() else {
        return JobClass::Lookalike("it has no container mirrord-agent");
    };
    if !is_agent_command(container.command.as_ref()) {
        return JobClass::Lookalike("its command is not ./mirrord-agent");
    }
    if is_operator_agent(container.env.as_ref()) {
        return JobClass::Lookalike("it is an agent of mirrord's own operator");
    }
    JobClass::Agent(match TargetKind::from_args(container.args.as_deref().unwrap_or_default()) {
        TargetKind::Pod => {
            TargetKind::Unreadable("it is a Job but its arguments name the mode ephemeral".into())
        }
        kind => kind,
    })
}

/// Returns whether a Job that is being created can be an agent, now or later.
///
/// The name may be generated after admission, and the label may be added later. The API server lets
/// no client change the name or the containers, so a Job without the container of an agent stays
/// without one.
#[must_use]
pub fn may_become_agent(job: &Job) -> bool {
    let meta = &job.metadata;
    let name = meta.name.as_deref().filter(|name| !name.is_empty());
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut containers =
        pod.iter().flat_map(|pod| &pod.containers).filter(|one| one.name == AGENT_CONTAINER);
    name.or(meta.generate_name.as_deref()).is_some_and(|name| name.starts_with(NAME_PREFIX))
        && containers.next().is_some_and(|container| {
            is_agent_command(container.command.as_ref())
                && !is_operator_agent(container.env.as_ref())
        })
}

/// Returns the ephemeral containers of a Pod that are agents, with their indexes.
pub fn agent_containers(
    containers: &[EphemeralContainer],
) -> impl Iterator<Item = (usize, &EphemeralContainer)> {
    containers.iter().enumerate().filter(|(_, container)| {
        is_agent_name(&container.name)
            && is_agent_command(container.command.as_ref())
            && !is_operator_agent(container.env.as_ref())
    })
}

fn has_label(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.get(LABEL.0).is_some_and(|value| value == LABEL.1))
}

fn is_agent_command(command: Option<&Vec<String>>) -> bool {
    command.is_some_and(|command| command == &[COMMAND])
}

fn is_operator_agent(env: Option<&Vec<EnvVar>>) -> bool {
    env.is_some_and(|env| env.iter().any(|variable| variable.name == OPERATOR_ENV))
}

#[cfg(test)]
// A large table of cases.
#[allow(clippy::large_stack_arrays)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::fixtures::{DEFAULT, EPHEMERAL, RUNNING, TARGETLESS, job, value};

    fn job_with(path: &str, to: Value) -> Job {
        let mut object = value(DEFAULT);
        *object.pointer_mut(path).unwrap() = to;
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn recognizes_agents_of_the_cli() {
        for (fixture, targeted) in [(DEFAULT, true), (RUNNING, true), (TARGETLESS, false)] {
            let JobClass::Agent(kind) = classify_job(&job(fixture)) else {
                panic!("{fixture}");
            };
            match kind {
                TargetKind::Container(id) => {
                    assert!(targeted);
                    let id = id.to_string();
                    assert_eq!(id, format!("containerd://{}", "a1b2c3d4".repeat(8)));
                }
                kind => assert!(!targeted && kind == TargetKind::Targetless),
            }
        }
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_str(EPHEMERAL).unwrap();
        let containers = pod.spec.unwrap().ephemeral_containers.unwrap();
        let agents: Vec<_> = agent_containers(&containers).collect();
        assert_eq!(agents.len(), 1);
        assert_eq!(agents[0].1.name, "mirrord-agent-w6vxft9ixh");
    }

    #[test]
    fn foresees_agents() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut object = value(DEFAULT);
            change(&mut object);
            serde_json::from_value::<Job>(object).unwrap()
        };
        let generated = |prefix: &str| {
            with(&|job| {
                job["metadata"]["name"] = json!(null);
                job["metadata"]["generateName"] = json!(prefix);
            })
        };
        let env = "/spec/template/spec/containers/0/env/0/name";
        for (name, job, expected) in [
            ("agent of the CLI", job(DEFAULT), true),
            ("without the label", with(&|job| job["metadata"]["labels"] = json!({})), true),
            ("without labels", with(&|job| job["metadata"]["labels"] = json!(null)), true),
            ("generated name", generated("mirrord-agent-abcde"), true),
            (
                "generated name with an empty name",
                with(&|job| {
                    job["metadata"]["name"] = json!("");
                    job["metadata"]["generateName"] = json!("mirrord-agent-abcde");
                }),
                true,
            ),
            ("shorter generated name", generated("mirrord-agent-"), true),
            ("another generated name", generated("migrate-"), false),
            (
                "another name, prefix of an agent",
                with(&|job| {
                    job["metadata"]["name"] = json!("migrate");
                    job["metadata"]["generateName"] = json!("mirrord-agent-abcde");
                }),
                false,
            ),
            ("another name", job_with("/metadata/name", json!("migrate")), false),
            ("agent of the operator", job_with(env, json!(OPERATOR_ENV)), false),
            (
                "another command",
                job_with("/spec/template/spec/containers/0/command", json!(["sh"])),
                false,
            ),
            (
                "another container",
                job_with("/spec/template/spec/containers/0/name", json!("main")),
                false,
            ),
            (
                "variable of the operator in another container",
                with(&|job| {
                    let containers = &mut job["spec"]["template"]["spec"]["containers"];
                    let sidecar = json!({ "name": "x", "env": [{ "name": OPERATOR_ENV }] });
                    containers.as_array_mut().unwrap().push(sidecar);
                }),
                true,
            ),
        ] {
            assert_eq!(may_become_agent(&job), expected, "{name}");
        }
    }

    #[test]
    fn rejects_other_jobs() {
        let container = "/spec/template/spec/containers/0";
        let at = |path: &str| format!("{container}/{path}");
        let cases = [
            ("another label", job_with("/metadata/labels/app", json!("shop")), None),
            ("another name", job_with("/metadata/name", json!("migrate")), None),
            ("name too short", job_with("/metadata/name", json!("mirrord-agent-abc")), None),
            (
                "upper-case name",
                job_with("/metadata/name", json!("mirrord-agent-ABCDEFGHIJ")),
                None,
            ),
            ("no name", job_with("/metadata/name", json!(null)), None),
            (
                "no containers",
                job_with("/spec/template/spec/containers", json!([])),
                Some("no container"),
            ),
            ("no pod", job_with("/spec/template/spec", json!(null)), Some("no container")),
            ("another container", job_with(&at("name"), json!("main")), Some("no container")),
            (
                "another command",
                job_with(&at("command"), json!(["sh", "-c", "./mirrord-agent"])),
                Some("command"),
            ),
            ("no command", job_with(&at("command"), json!(null)), Some("command")),
            (
                "agent of the operator",
                job_with(&at("env/0/name"), json!("AGENT_OPERATOR_CERT_ENV")),
                Some("operator"),
            ),
        ];
        for (name, job, reason) in cases {
            match (classify_job(&job), reason) {
                (JobClass::Other, None) => {}
                (JobClass::Lookalike(found), Some(reason)) => {
                    assert!(found.contains(reason), "{name}: {found}");
                }
                (class, _) => panic!("{name}: {class:?}"),
            }
        }
        for args in [json!(null), json!([]), json!(["ephemeral"])] {
            let class = classify_job(&job_with(&at("args"), args));
            let unreadable = matches!(class, JobClass::Agent(TargetKind::Unreadable(_)));
            assert!(unreadable);
        }
    }
}
