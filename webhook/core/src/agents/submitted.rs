//! The fields of submitted objects that admission reads.
//!
//! The API server accepts values that the full types cannot represent, such as times in the year
//! 9999. A stamp must not depend on them, so only strings are parsed, and other fields are skipped.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Container, EnvVar, EphemeralContainer, Pod, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;

/// A submitted Job or Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubmittedObject {
    metadata: Option<Metadata>,
    spec: Option<Spec>,
}

/// The spec of a Job or of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    template: Option<Template>,
    ephemeral_containers: Option<Vec<SubmittedContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: Option<Metadata>,
    spec: Option<TemplateSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    containers: Option<Vec<SubmittedContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubmittedContainer {
    name: Option<String>,
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: Option<String>,
    value: Option<String>,
}

/// Parses the fields of a submitted Job that admission reads.
///
/// # Errors
/// Returns an error for a field of another type, which the API server does not send.
pub fn parse_submitted_job(json: &str) -> Result<Job, serde_json::Error> {
    let object: SubmittedObject = serde_json::from_str(json)?;
    let template = object.spec.and_then(|spec| spec.template).map(|template| PodTemplateSpec {
        metadata: template.metadata.map(ObjectMeta::from),
        spec: template.spec.map(|spec| PodSpec {
            node_name: spec.node_name,
            node_selector: spec.node_selector,
            containers: spec.containers.into_iter().flatten().map(Container::from).collect(),
            ..PodSpec::default()
        }),
    });
    Ok(Job {
        metadata: object.metadata.unwrap_or_default().into(),
        spec: template.map(|template| JobSpec { template, ..JobSpec::default() }),
        status: None,
    })
}

/// Parses the fields of a submitted Pod that admission reads.
///
/// # Errors
/// Returns an error for a field of another type, which the API server does not send.
pub fn parse_submitted_pod(json: &str) -> Result<Pod, serde_json::Error> {
    let object: SubmittedObject = serde_json::from_str(json)?;
    let containers = object.spec.and_then(|spec| spec.ephemeral_containers);
    let to_ephemeral = |container: SubmittedContainer| EphemeralContainer {
        name: container.name.unwrap_or_default(),
        command: container.command,
        env: container.env.map(to_env),
        ..EphemeralContainer::default()
    };
    Ok(Pod {
        metadata: object.metadata.unwrap_or_default().into(),
        spec: Some(PodSpec {
            ephemeral_containers: containers.map(|all| all.into_iter().map(to_ephemeral).collect()),
            ..PodSpec::default()
        }),
        status: None,
    })
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: metadata.name,
            generate_name: metadata.generate_name,
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..Self::default()
        }
    }
}

impl From<SubmittedContainer> for Container {
    fn from(container: SubmittedContainer) -> Self {
        Self {
            name: container.name.unwrap_or_default(),
            command: container.command,
            args: container.args,
            env: container.env.map(to_env),
            ..Self::default()
        }
    }
}

fn to_env(variables: Vec<Variable>) -> Vec<EnvVar> {
    let to_variable = |variable: Variable| EnvVar {
        name: variable.name.unwrap_or_default(),
        value: variable.value,
        value_from: None,
    };
    variables.into_iter().map(to_variable).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        agents::{
            agent_containers, classify_job,
            fixtures::{DEFAULT, EPHEMERAL, RUNNING, TARGETLESS, value},
        },
        controller::TargetHint,
    };

    #[test]
    fn reads_what_the_full_types_read() {
        for fixture in [DEFAULT, RUNNING, TARGETLESS] {
            let full: Job = serde_json::from_str(fixture).unwrap();
            let submitted = parse_submitted_job(fixture).unwrap();
            assert_eq!(classify_job(&submitted), classify_job(&full));
            assert_eq!(TargetHint::from_job(&submitted), TargetHint::from_job(&full));
            assert_eq!(submitted.metadata.annotations, full.metadata.annotations);
        }
        let full: Pod = serde_json::from_str(EPHEMERAL).unwrap();
        let submitted = parse_submitted_pod(EPHEMERAL).unwrap();
        let names = |pod: Pod| -> Vec<(usize, String, usize)> {
            let containers = pod.spec.unwrap().ephemeral_containers.unwrap();
            agent_containers(&containers)
                .map(|(index, agent)| {
                    (index, agent.name.clone(), agent.env.as_ref().map_or(0, Vec::len))
                })
                .collect()
        };
        assert_eq!(names(submitted), names(full));
    }

    #[test]
    fn tolerates_what_an_api_server_accepts() {
        let late = "9999-12-31T23:59:59Z";
        let volume = json!({ "name": "a", "ephemeral": { "volumeClaimTemplate": {
            "metadata": { "creationTimestamp": late },
            "spec": { "resources": { "requests": { "storage": "1e999999" } } },
        } } });
        let mut job = value(DEFAULT);
        job["metadata"]["creationTimestamp"] = json!(late);
        job["metadata"]["managedFields"] = json!([{ "time": late }]);
        job["spec"]["template"]["metadata"]["creationTimestamp"] = json!(late);
        job["spec"]["template"]["spec"]["volumes"] = json!([volume]);
        assert!(serde_json::from_value::<Job>(job.clone()).is_err());
        let submitted = parse_submitted_job(&job.to_string()).unwrap();
        assert_eq!(classify_job(&submitted), classify_job(&serde_json::from_str(DEFAULT).unwrap()));

        let mut pod = value(EPHEMERAL);
        pod["spec"]["volumes"] = json!([volume]);
        pod["status"] = json!({ "startTime": late });
        let submitted = parse_submitted_pod(&pod.to_string()).unwrap();
        assert_eq!(submitted.spec.unwrap().ephemeral_containers.unwrap().len(), 1);

        let nulls =
            json!({ "metadata": null, "spec": { "template": { "metadata": null, "spec": null } } });
        assert!(parse_submitted_job(&nulls.to_string()).is_ok());
        assert!(parse_submitted_job(&Value::Null.to_string()).is_err());
    }
}
