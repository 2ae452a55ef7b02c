//! Reviews about mirrord's agents. Whatever can't be understood is let through as it is: a
//! developer's run must not depend on this.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use mirrord_sessions_core::{
    admission::{Decision, Outcome, agent},
    agents::{Look, job_agent, words},
    controller::{PodParts, Sought, Target},
    identity::Requester,
    text::printable,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tracing::info;

use super::{
    Answer, Error, Neighbours, goes_on,
    review::{Request, Resource},
    warned, written,
};

/// A review about an agent, decided on but for what to tell of others on its target.
#[derive(Debug)]
pub(crate) struct AgentReview {
    uid: String,
    requester: Requester,
    decision: Decision,
    starts: Starts,
}

/// What is known of an agent that starts.
#[derive(Debug, Default)]
struct Starts {
    /// Where to look for its target.
    sought: Option<Sought>,
    /// What the user says it is, in the namespace of the agent.
    word: Option<(String, String)>,
}

impl AgentReview {
    /// Parses the review: stamps on CREATE, restores on UPDATE.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        let request = Request::parse(body)
            .map_err(|error| Error::Invalid(printable(&error.to_string(), 512)))?;
        let (decision, starts) = understood(&request).unwrap_or_else(|unknown| {
            info!(
                operation = printable(&request.operation, 32),
                resource = printable(&request.resource.plural, 64),
                reason = printable(&unknown.to_string(), 256),
                "an agent's review is let through as it is"
            );
            (Decision::allow(), Starts::default())
        });
        let requester = request.requester();
        for warning in &decision.warnings {
            info!(
                namespace = printable(&request.namespace, 63),
                name = printable(&request.name, 253),
                user = printable(&requester.username, 120),
                warning,
                "of an agent's review"
            );
        }
        let starts = if goes_on(&decision, &requester) { starts } else { Starts::default() };
        Ok(Self { requester, decision, starts, uid: request.uid })
    }

    /// Who asks.
    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Where to look for the target of the agent that starts.
    pub(crate) fn sought(&self) -> Option<&Sought> {
        self.starts.sought.as_ref()
    }

    /// Answers it. Where the target was not found it is what the user says.
    pub(crate) fn answer(
        self,
        target: Option<&Target>,
        neighbours: &dyn Neighbours,
    ) -> Result<Answer, Error> {
        let warning = match (target, &self.starts.word) {
            (Some(target), _) => {
                neighbours.warning(&target.namespace, &target.names(), &self.requester)
            }
            (None, Some((namespace, word))) => {
                neighbours.warning(namespace, &[word], &self.requester)
            }
            (None, None) => None,
        };
        written(self.uid, warned(self.decision, warning))
    }
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

fn understood(request: &Request<'_>) -> Result<(Decision, Starts), Unknown> {
    let requester = request.requester();
    let Resource { group, plural, .. } = &request.resource;
    let place = (group.as_str(), plural.as_str(), request.sub_resource.as_str());
    match (place, request.operation.as_str()) {
        (("batch", "jobs", ""), "CREATE") => {
            let job: Job = read(request.object, "object")?;
            if let Look::Lookalike(why) = job_agent(&job) {
                let name = job.metadata.name.as_deref().unwrap_or_default();
                let name = printable(name, 253);
                info!(name, why, "a Job is named like an agent and isn't one");
            }
            let said = job.metadata.annotations.as_ref();
            let said = said.and_then(|said| said.get(words::TARGET).cloned());
            let starts = Starts {
                sought: Sought::of_job(&job),
                word: said.map(|target| (request.namespace.clone(), target)),
            };
            Ok((agent::on_job_create(&job, &requester), starts))
        }
        (("batch", "jobs", ""), "UPDATE") => {
            let job: Job = read(request.object, "object")?;
            let old: Job = read(request.old_object, "oldObject")?;
            let decision = agent::on_job_update(&job, &old, &requester);
            Ok((decision, Starts::default()))
        }
        (("", "pods", "ephemeralcontainers"), "UPDATE") => {
            let pod: Pod = read(request.object, "object")?;
            let old: Pod = read(request.old_object, "oldObject")?;
            let decision = agent::on_ephemeral_containers(&pod, &old, &requester);
            let mut starts = Starts::default();
            if !matches!(&decision.outcome, Outcome::Allow(stamps) if stamps.is_empty()) {
                // As it is stored: the API server takes nothing but the containers from what is
                // sent.
                let parts: PodParts = read(request.old_object, "oldObject")?;
                starts.sought = Sought::of_pod(&old.metadata, &parts);
            }
            Ok((decision, starts))
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
    use mirrord_sessions_core::controller::PodView;
    use serde_json::{Value, json};

    use super::*;

    /// Bob is on x/bobs in shop.
    struct Bob;

    impl Neighbours for Bob {
        fn warning(&self, namespace: &str, names: &[&str], _: &Requester) -> Option<String> {
            (namespace == "shop" && names.contains(&"x/bobs")).then(|| "bob is there".to_owned())
        }
    }

    fn stamp_agent(body: &[u8]) -> Result<Answer, Error> {
        AgentReview::parse(body)?.answer(None, &Bob)
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
        answer["response"].get("patch").map_or_else(Vec::new, |patch| {
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
        assert_eq!(patch(&review("CREATE", &jobs(), &job, &json!(null))).len(), 1);
        let mut changed = job.clone();
        changed["metadata"]["annotations"]["operator.metalbear.co/requester"] = json!("x");
        assert_eq!(patch(&review("UPDATE", &jobs(), &changed, &job)).len(), 1);
        let pod = fixture("ephemeral.ephemeral-request-body.json");
        let mut old = pod.clone();
        old["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
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
    fn what_is_found_counts_more_than_what_is_said() {
        let pod = fixture("ephemeral.ephemeral-request-body.json");
        let mut old = pod.clone();
        old["spec"]["ephemeralContainers"] = json!([]);
        let mut sent = pod.clone();
        sent["metadata"] = json!({ "name": "forged" });
        let added = review("UPDATE", &pods(), &sent, &old);
        let found: Vec<PodView> = AgentReview::parse(added.to_string().as_bytes())
            .unwrap()
            .sought()
            .map(|sought| match sought {
                Sought::Pod(pod) => pod.clone(),
                sought @ Sought::Container { .. } => panic!("{sought:?}"),
            })
            .into_iter()
            .collect();
        assert_eq!(*found[0].name, *pod["metadata"]["name"].as_str().unwrap());

        let mut job = fixture("default.job-request-body.json");
        job["metadata"]["annotations"][words::TARGET] = json!("x/bobs");
        let mut of = review("CREATE", &jobs(), &job, &json!(null));
        let warned = |review: &Value, target: Option<&Target>| {
            let review = AgentReview::parse(review.to_string().as_bytes()).unwrap();
            let sought = review.sought().is_some();
            let answer = review.answer(target, &Bob).unwrap();
            let answer: Value = serde_json::from_slice(&answer.review).unwrap();
            (sought, answer["response"].get("warnings").is_some())
        };
        let mut there = found[0].clone();
        there.namespace = "shop".into();
        let (his, other) = (Target::pod(&there, "x/bobs"), Target::pod(&there, "x/y"));
        assert_eq!(warned(&of, None), (true, true));
        assert_eq!(warned(&of, Some(&other)), (true, false));
        assert_eq!(warned(&of, Some(&his)), (true, true));
        // The controller is told nothing, and nothing is looked for.
        of["request"]["userInfo"]["username"] = json!(mirrord_sessions_crds::CONTROLLER_USERNAME);
        assert_eq!(warned(&of, None), (false, false));
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
            ("no job", review("CREATE", &jobs(), &json!({ "spec": 7 }), &none)),
            ("no containers", review("CREATE", &jobs(), &lookalike, &none)),
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
            assert!(matches!(stamp_agent(body.as_bytes()), Err(Error::Invalid(_))), "{body}");
        }
    }
}
