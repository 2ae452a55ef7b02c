//! Reviews of mirrord's agents.
//!
//! A review that can't be parsed is allowed unchanged: the run of a developer must not depend on
//! the webhook.

use mirrord_sessions_core::{
    admission::{Decision, Outcome, agent},
    agents::{JobClass, classify_job, parse_submitted_job, parse_submitted_pod},
    controller::{Target, TargetHint},
    identity::Requester,
    text::printable,
};
use mirrord_sessions_crds::annotations;
use serde_json::value::RawValue;
use tracing::info;

use super::{
    ConcurrentSessions, Review,
    review::{Request, Resource},
};
use crate::stored_objects::StoredPod;

/// A decision on a write that may start a run, before the requester is warned of other sessions on
/// its target.
#[derive(Debug)]
pub(crate) struct NewRun {
    decision: Decision,
    requester: Requester,
    target_hint: Option<TargetHint>,
    /// Namespace and target as the client claims them.
    claim: Option<(String, String)>,
}

impl NewRun {
    /// Creates the review of a write.
    ///
    /// Denied writes and writes of the controller get no warning, since the controller records runs
    /// that have already started.
    pub(super) fn new(
        decision: Decision,
        requester: Requester,
        target_hint: Option<TargetHint>,
        claim: Option<(String, String)>,
    ) -> Self {
        let warns = matches!(decision.outcome, Outcome::Allow(_)) && !requester.is_controller();
        Self {
            decision,
            requester,
            target_hint: target_hint.filter(|_| warns),
            claim: claim.filter(|_| warns),
        }
    }

    /// Returns the requester of the write.
    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Returns where to look up the target of the agent that starts.
    pub(crate) fn target_hint(&self) -> Option<&TargetHint> {
        self.target_hint.as_ref()
    }

    /// Adds the warning of other sessions on the target.
    ///
    /// The claim of the client counts only if the target was not found.
    pub(crate) fn decide(
        self,
        target: Option<&Target>,
        sessions: &dyn ConcurrentSessions,
    ) -> Decision {
        let warning = match (target, &self.claim) {
            (Some(target), _) => {
                sessions.warning(&target.namespace, &target.paths(), &self.requester)
            }
            (None, Some((namespace, name))) => {
                sessions.warning(namespace, &[name], &self.requester)
            }
            (None, None) => None,
        };
        self.decision.with_warning(warning)
    }
}

/// Parses a review of an agent: stamps on CREATE, restores on UPDATE.
pub(super) fn parse(request: &Request<'_>) -> Review {
    let run = parse_agent(request).unwrap_or_else(|error| {
        info!(
            operation = printable(&request.operation, 32),
            resource = printable(&request.resource.plural, 64),
            reason = printable(&error.to_string(), 256),
            "allowed an agent review without a stamp"
        );
        NewRun::new(Decision::allow(), request.requester(), None, None)
    });
    for warning in &run.decision.warnings {
        info!(
            namespace = printable(&request.namespace, 63),
            name = printable(&request.name, 253),
            user = printable(&run.requester.username, 120),
            warning,
            "warned the requester of an agent"
        );
    }
    Review::NewRun(Box::new(run))
}

/// Describes why the review of an agent can't be parsed.
#[derive(Debug, thiserror::Error)]
enum ParseError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("the object can't be parsed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the resource is neither a Job nor ephemeral containers of a Pod")]
    Resource,
}

fn parse_agent(request: &Request<'_>) -> Result<NewRun, ParseError> {
    let requester = request.requester();
    let Resource { group, plural, .. } = &request.resource;
    let resource = (group.as_str(), plural.as_str(), request.sub_resource.as_str());
    match (resource, request.operation.as_str()) {
        (("batch", "jobs", ""), "CREATE") => {
            let job = parse_submitted_job(json(request.object, "object")?)?;
            if let JobClass::Lookalike(reason) = classify_job(&job) {
                let name = job.metadata.name.as_deref().unwrap_or_default();
                let name = printable(name, 253);
                info!(name, reason, "a Job has the name of an agent but is not one");
            }
            let annotations = job.metadata.annotations.as_ref();
            let target = annotations.and_then(|all| all.get(annotations::TARGET).cloned());
            let claim = target.map(|target| (request.namespace.clone(), target));
            let decision = agent::on_job_create(&job, &requester);
            Ok(NewRun::new(decision, requester, TargetHint::from_job(&job), claim))
        }
        (("batch", "jobs", ""), "UPDATE") => {
            let job = parse_submitted_job(json(request.object, "object")?)?;
            let old = parse_submitted_job(json(request.old_object, "oldObject")?)?;
            let decision = agent::on_job_update(&job, &old, &requester);
            Ok(NewRun::new(decision, requester, None, None))
        }
        (("", "pods", "ephemeralcontainers"), "UPDATE") => {
            let pod = parse_submitted_pod(json(request.object, "object")?)?;
            let stored = json(request.old_object, "oldObject")?;
            let old = parse_submitted_pod(stored)?;
            let decision = agent::on_ephemeral_containers(&pod, &old, &requester);
            let is_unchanged =
                matches!(&decision.outcome, Outcome::Allow(operations) if operations.is_empty());
            // Use the stored Pod: the API server takes nothing but the containers from the request.
            let hint = if is_unchanged { None } else { target_pod(stored) };
            Ok(NewRun::new(decision, requester, hint, None))
        }
        _ => Err(ParseError::Resource),
    }
}

fn json<'a>(object: Option<&'a RawValue>, name: &'static str) -> Result<&'a str, ParseError> {
    Ok(object.ok_or(ParseError::Missing(name))?.get())
}

/// Returns the Pod that an ephemeral agent is added to.
///
/// Returns `None` if a field of the Pod can't be represented. The agent is stamped nevertheless.
fn target_pod(json: &str) -> Option<TargetHint> {
    let pod: StoredPod = serde_json::from_str(json).ok()?;
    pod.into_cached().map(TargetHint::Pod)
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_core::controller::CachedPod;
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::{self, Endpoint, Error};

    /// Reports a session of bob on x/bobs in the namespace shop.
    struct BobsSession;

    impl ConcurrentSessions for BobsSession {
        fn warning(&self, namespace: &str, names: &[&str], _: &Requester) -> Option<String> {
            (namespace == "shop" && names.contains(&"x/bobs"))
                .then(|| "bob has a session".to_owned())
        }
    }

    fn parse(body: &[u8]) -> Result<NewRun, Error> {
        let endpoint = Endpoint::from_path("/admission/v1/agents/stamp").unwrap();
        match admission::parse(endpoint, body)? {
            (uid, Review::NewRun(run)) => {
                assert_eq!(uid, "1");
                Ok(*run)
            }
            review => panic!("{review:?}"),
        }
    }

    fn respond(run: NewRun, target: Option<&Target>) -> Value {
        let review = admission::serialize("1".into(), run.decide(target, &BobsSession)).unwrap();
        serde_json::from_slice(&review).unwrap()
    }

    fn stamp_agent(review: &Value) -> Value {
        respond(parse(review.to_string().as_bytes()).unwrap(), None)
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

    /// Returns the operations of the patch.
    fn patch(review: &Value) -> Vec<Value> {
        let answer = stamp_agent(review);
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
    fn stamps_agents() {
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
    fn stamps_agents_with_times_that_no_type_can_hold() {
        let late = json!("9999-12-31T23:59:59Z");
        let mut job = fixture("default.job-request-body.json");
        job["spec"]["template"]["metadata"]["creationTimestamp"] = late.clone();
        assert_eq!(patch(&review("CREATE", &jobs(), &job, &json!(null))).len(), 1);
        let mut pod = fixture("ephemeral.ephemeral-request-body.json");
        pod["spec"]["volumes"] = json!([{ "name": "a", "ephemeral": {
            "volumeClaimTemplate": { "metadata": { "creationTimestamp": late } },
        } }]);
        let mut old = pod.clone();
        old["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
        old["status"] = json!({ "startTime": late, "containerStatuses": 7 });
        assert_eq!(patch(&review("UPDATE", &pods(), &pod, &old)).len(), 1);
    }

    #[test]
    fn warns_of_concurrent_sessions() {
        let mut job = fixture("default.job-request-body.json");
        for (target, warned) in [("x/bobs", true), ("x/other", false)] {
            job["metadata"]["annotations"][annotations::TARGET] = json!(target);
            let review = review("CREATE", &jobs(), &job, &json!(null));
            let answer = stamp_agent(&review);
            assert_eq!(answer["response"].get("warnings").is_some(), warned);
        }
    }

    #[test]
    fn found_target_overrides_the_claim() {
        let pod = fixture("ephemeral.ephemeral-request-body.json");
        let mut old = pod.clone();
        old["spec"]["ephemeralContainers"] = json!([]);
        let mut sent = pod.clone();
        sent["metadata"] = json!({ "name": "forged" });
        let added = review("UPDATE", &pods(), &sent, &old);
        let found: Vec<CachedPod> = parse(added.to_string().as_bytes())
            .unwrap()
            .target_hint()
            .map(|hint| match hint {
                TargetHint::Pod(pod) => pod.clone(),
                hint @ TargetHint::Container { .. } => panic!("{hint:?}"),
            })
            .into_iter()
            .collect();
        assert_eq!(*found[0].name, *pod["metadata"]["name"].as_str().unwrap());

        let mut job = fixture("default.job-request-body.json");
        job["metadata"]["annotations"][annotations::TARGET] = json!("x/bobs");
        let mut create = review("CREATE", &jobs(), &job, &json!(null));
        let warned = |review: &Value, target: Option<&Target>| {
            let run = parse(review.to_string().as_bytes()).unwrap();
            let hint = run.target_hint().is_some();
            let answer = respond(run, target);
            (hint, answer["response"].get("warnings").is_some())
        };
        let mut pod = found[0].clone();
        pod.namespace = "shop".into();
        let (bobs, other) = (Target::pod(&pod, "x/bobs"), Target::pod(&pod, "x/y"));
        assert_eq!(warned(&create, None), (true, true));
        assert_eq!(warned(&create, Some(&other)), (true, false));
        assert_eq!(warned(&create, Some(&bobs)), (true, true));
        // The controller is not warned, and its target is not looked up.
        create["request"]["userInfo"]["username"] =
            json!(mirrord_sessions_crds::CONTROLLER_USERNAME);
        assert_eq!(warned(&create, None), (false, false));
    }

    #[test]
    fn allows_unparsable_reviews_unchanged() {
        let job = fixture("default.job-request-body.json");
        let mut huge = job.clone();
        huge["metadata"]["annotations"]["big"] = json!("x".repeat(1 << 20));
        let sessions = json!({ "group": "operator.metalbear.co", "resource": "sessions" });
        let none = json!(null);
        for (name, review) in [
            ("no object", review("CREATE", &jobs(), &none, &none)),
            ("list as object", review("CREATE", &jobs(), &json!([]), &none)),
            ("malformed job", review("CREATE", &jobs(), &json!({ "spec": 7 }), &none)),
            ("no old object", review("UPDATE", &jobs(), &job, &none)),
            ("deletion", review("DELETE", &jobs(), &none, &job)),
            ("another resource", review("CREATE", &sessions, &job, &none)),
        ] {
            assert_eq!(patch(&review), Vec::<Value>::new(), "{name}");
        }
        assert_eq!(patch(&review("CREATE", &jobs(), &huge, &none)).len(), 1);
    }

    #[test]
    fn rejects_bodies_that_are_not_reviews() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#,
        ] {
            assert!(matches!(parse(body.as_bytes()), Err(Error::Invalid(_))), "{body}");
        }
    }
}
