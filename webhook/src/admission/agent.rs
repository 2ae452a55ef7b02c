//! Reviews about mirrord's agents. Whatever can't be understood is let through as it is: a developer's
//! run must not depend on this.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use mirrord_sessions_core::{
    admission::{Decision, agent},
    agents::{Look, job_agent, words},
    text::printable,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tracing::info;

use super::{
    Neighbours, beside,
    review::{Request, Resource},
};

/// Decides on an agent's stamp.
pub(super) fn decide(request: &Request<'_>, neighbours: &dyn Neighbours) -> Decision {
    understood(request, neighbours).unwrap_or_else(|unknown| {
        info!(
            operation = printable(&request.operation, 32),
            resource = printable(&request.resource.plural, 64),
            reason = printable(&unknown.to_string(), 256),
            "an agent's review is let through as it is"
        );
        Decision::allow()
    })
}

/// Why a review isn't understood.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("it can't be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is none of a Job or of ephemeral containers")]
    Resource,
}

fn understood(request: &Request<'_>, neighbours: &dyn Neighbours) -> Result<Decision, Unknown> {
    let requester = request.requester();
    let Resource { group, plural, .. } = &request.resource;
    let place = (
        group.as_str(),
        plural.as_str(),
        request.sub_resource.as_str(),
    );
    match (place, request.operation.as_str()) {
        (("batch", "jobs", ""), "CREATE") => {
            let job: Job = read(request.object, "object")?;
            if let Look::Lookalike(why) = job_agent(&job) {
                let name = job.metadata.name.as_deref().unwrap_or_default();
                let name = printable(name, 253);
                info!(name, why, "a Job is named like an agent and isn't one");
            }
            // What it targets is only known from what the user says here, and looked for where the
            // agent is.
            let words = job.metadata.annotations.as_ref();
            let target = words.and_then(|words| words.get(words::TARGET).map(String::as_str));
            let decision = agent::on_job_create(&job, &requester);
            Ok(beside(decision, request, target, neighbours))
        }
        (("batch", "jobs", ""), "UPDATE") => {
            let job: Job = read(request.object, "object")?;
            let old: Job = read(request.old_object, "oldObject")?;
            Ok(agent::on_job_update(&job, &old, &requester))
        }
        (("", "pods", "ephemeralcontainers"), "UPDATE") => {
            let pod: Pod = read(request.object, "object")?;
            let old: Pod = read(request.old_object, "oldObject")?;
            Ok(agent::on_ephemeral_containers(&pod, &old, &requester))
        }
        _ => Err(Unknown::Resource),
    }
}

fn read<T: DeserializeOwned>(object: Option<&RawValue>, name: &'static str) -> Result<T, Unknown> {
    let object = object.ok_or(Unknown::Missing(name))?;
    Ok(serde_json::from_str(object.get())?)
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_core::identity::Requester;
    use serde_json::{Value, json};

    use super::{
        super::{Answer, Error},
        *,
    };

    /// Bob is on x/bobs in shop.
    struct Bob;

    impl Neighbours for Bob {
        fn warning(&self, namespace: &str, target: &str, _: &Requester) -> Option<String> {
            ((namespace, target) == ("shop", "x/bobs")).then(|| "bob is there".to_owned())
        }
    }

    fn stamp_agent(body: &[u8]) -> Result<Answer, Error> {
        super::super::stamp_agent(body, &Bob)
    }

    fn review(operation: &str, resource: &Value, object: &Value, old: &Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1", "namespace": "shop", "operation": operation, "resource": resource,
                "subResource": resource.get("sub").cloned().unwrap_or(json!("")),
                "userInfo": { "username": "alice", "groups": ["devs"] },
                "object": object, "oldObject": old,
            },
        })
    }

    /// The operations of the answer's patch.
    fn patch(review: &Value) -> Vec<Value> {
        let answer = stamp_agent(review.to_string().as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer.review).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["uid"], "1");
        answer["response"]
            .get("patch")
            .map_or_else(Vec::new, |patch| {
                let patch: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).unwrap();
                serde_json::from_slice(&patch.0).unwrap()
            })
    }

    fn fixture(name: &str) -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/agents/");
        let text = std::fs::read_to_string(format!("{path}{name}")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn jobs() -> Value {
        json!({ "group": "batch", "version": "v1", "resource": "jobs" })
    }

    fn pods() -> Value {
        json!({ "group": "", "version": "v1", "resource": "pods", "sub": "ephemeralcontainers" })
    }

    #[test]
    fn agents_are_stamped() {
        let job = fixture("default.job-request-body.json");
        assert_eq!(
            patch(&review("CREATE", &jobs(), &job, &json!(null))).len(),
            1
        );
        let mut changed = job.clone();
        changed["metadata"]["annotations"]["operator.metalbear.co/requester"] = json!("x");
        assert_eq!(patch(&review("UPDATE", &jobs(), &changed, &job)).len(), 1);
        let pod = fixture("ephemeral.ephemeral-request-body.json");
        let mut old = pod.clone();
        old["spec"]
            .as_object_mut()
            .unwrap()
            .remove("ephemeralContainers");
        assert_eq!(patch(&review("UPDATE", &pods(), &pod, &old)).len(), 1);
    }

    #[test]
    fn who_is_on_the_target_already_is_told() {
        let mut job = fixture("default.job-request-body.json");
        for (target, told) in [("x/bobs", true), ("x/other", false)] {
            job["metadata"]["annotations"][words::TARGET] = json!(target);
            let review = review("CREATE", &jobs(), &job, &json!(null));
            let answer = stamp_agent(review.to_string().as_bytes()).unwrap();
            let answer: Value = serde_json::from_slice(&answer.review).unwrap();
            assert_eq!(answer["response"].get("warnings").is_some(), told);
        }
    }

    #[test]
    fn what_is_not_understood_is_let_through() {
        let job = fixture("default.job-request-body.json");
        let mut huge = job.clone();
        huge["metadata"]["annotations"]["big"] = json!("x".repeat(1 << 20));
        let lookalike = json!({
            "metadata": { "name": "mirrord-agent-abcdefghij", "labels": { "app": "mirrord" } },
        });
        let sessions = json!({ "group": "operator.metalbear.co", "resource": "sessions" });
        let none = json!(null);
        for (name, review) in [
            ("no object", review("CREATE", &jobs(), &none, &none)),
            ("a list", review("CREATE", &jobs(), &json!([]), &none)),
            (
                "no job",
                review("CREATE", &jobs(), &json!({ "spec": 7 }), &none),
            ),
            (
                "no containers",
                review("CREATE", &jobs(), &lookalike, &none),
            ),
            ("no old object", review("UPDATE", &jobs(), &job, &none)),
            ("a deletion", review("DELETE", &jobs(), &none, &job)),
            ("another resource", review("CREATE", &sessions, &job, &none)),
        ] {
            assert_eq!(patch(&review), Vec::<Value>::new(), "{name}");
        }
        assert_eq!(patch(&review("CREATE", &jobs(), &huge, &none)).len(), 1);
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#,
        ] {
            assert!(
                matches!(stamp_agent(body.as_bytes()), Err(Error::Invalid(_))),
                "{body}"
            );
        }
    }
}
