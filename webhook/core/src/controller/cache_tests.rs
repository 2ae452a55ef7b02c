use std::slice::from_ref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mirrord_sessions_crds::{AgentReference, Owner, SessionSpec, SessionStatus};
use serde_json::json;

use super::*;
use crate::{
    agents::{
        SESSION_ANNOTATION,
        fixtures::{EPHEMERAL, RUNNING, job, value},
    },
    controller::{
        PartialPod,
        fixtures::{agent, agent_session, binding, time},
    },
};

fn pod(agents: bool) -> CachedPod {
    let mut object = value(EPHEMERAL);
    if !agents {
        object["spec"]["ephemeralContainers"] = json!([]);
    }
    let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
    let parts: PartialPod = serde_json::from_value(object).unwrap();
    CachedPod::from_parts(&meta, &parts).unwrap()
}

#[test]
fn job_recreated_under_same_name_is_another_agent() {
    let mut cache = Cache::default();
    let first = cache.apply_job(&job(RUNNING));
    let mut recreated = job(RUNNING);
    recreated.metadata.uid = Some("other".into());
    let affected = cache.apply_job(&recreated);
    assert_eq!((affected.len(), &affected[0]), (2, &first[0]));
    assert!(cache.agent(&affected[0]).is_none() && cache.agent(&affected[1]).is_some());
    let mut unlabeled = job(RUNNING);
    unlabeled.metadata.labels = None;
    assert_eq!(cache.apply_job(&unlabeled), affected[1..]);
    assert!(cache.agents().is_empty());
}

#[test]
fn records_start_of_agents_added_to_known_pods() {
    let mut cache = Cache::default();
    // For a Pod that was not cached, the creation time of the Pod counts.
    let id = cache.apply_pod(pod(true), Some(time(5))).remove(0);
    assert_eq!(cache.agent(&id).unwrap().added_at, None);
    cache.apply_pod(pod(false), Some(time(6)));
    assert!(cache.agent(&id).is_none());
    // A list does not show when the agent was added.
    cache.apply_pod(pod(true), None);
    assert_eq!(cache.agent(&id).unwrap().added_at, None);
    cache.apply_pod(pod(false), Some(time(7)));
    cache.apply_pod(pod(true), Some(time(8)));
    assert_eq!(cache.agent(&id).unwrap().added_at, Some(time(8)));
    // A later list keeps the time.
    cache.apply_pod(pod(true), None);
    assert_eq!(cache.agent(&id).unwrap().added_at, Some(time(8)));
    assert_eq!(cache.retain_pods(&HashSet::new()), [id]);
    assert_eq!(cache.pod_count(), 0);
}

#[test]
fn watch_does_not_revert_own_writes() {
    let mut cache = Cache::default();
    let (mut first, id) = (job(RUNNING), agent().id);
    first.metadata.resource_version = Some("9".into());
    let mut bound = first.clone();
    bound.metadata.resource_version = Some("10".into());
    let session = agent_session("1", &agent(), "alice");
    let text = binding(&agent(), &session).encode();
    let annotations = bound.metadata.annotations.get_or_insert_default();
    annotations.insert(SESSION_ANNOTATION.into(), text);
    cache.apply_job(&first);
    cache.apply_job(&bound);
    assert!(cache.apply_job(&first).is_empty());
    assert!(cache.agent(&id).unwrap().binding.is_some());

    let at = |version: &str, status_written: bool| {
        let mut session = Session::new("s", SessionSpec::default());
        session.spec.owner = Some(Owner::default());
        session.metadata.namespace = Some("shop".into());
        session.metadata.uid = Some("1".into());
        session.metadata.resource_version = Some(version.into());
        session.metadata.annotations = Some([(AGENT_ANNOTATION.into(), id.to_string())].into());
        let reference = AgentReference::default();
        session.status = Some(SessionStatus {
            agent: status_written.then_some(reference),
            ..SessionStatus::default()
        });
        session
    };
    let has_status = |cache: &Cache| cache.sessions(&id)[0].status_written;
    cache.apply_session(&at("9", false));
    assert!(!has_status(&cache));
    cache.apply_session(&at("10", true));
    assert!(cache.apply_session(&at("9", false)).is_empty());
    assert!(has_status(&cache));
    // A list is accepted, because the cluster may be restored from a backup.
    cache.begin_session_list();
    cache.apply_session(&at("9", false));
    assert!(!has_status(&cache));
}

#[test]
fn finds_sessions_by_agent() {
    let mut cache = Cache::default();
    let agent = agent();
    let first = agent_session("1", &agent, "alice");
    let mut second = agent_session("2", &agent, "alice");
    second.created_at = Some(time(1));
    cache.insert_agent_session(first.clone());
    cache.insert_agent_session(second.clone());
    assert_eq!(cache.sessions(&agent.id), [second.clone(), first.clone()]);
    let mut other = first.clone();
    other.uid = "3".into();
    cache.forget_session(&other);
    assert_eq!(cache.sessions(&agent.id).len(), 2, "another Session of the same name");
    cache.forget_session(&first);
    assert_eq!(cache.agents(), from_ref(&agent.id));
    assert_eq!(cache.retain_sessions(&HashSet::new()), from_ref(&agent.id));
    assert!(cache.agents().is_empty());
}
