use std::slice::from_ref;

use mirrord_sessions_crds::{AgentReference, Owner, SessionSpec, SessionStatus};
use serde_json::json;

use super::*;
use crate::{
    agents::{
        SESSION,
        fixtures::{EPHEMERAL, RUNNING, job, value},
    },
    controller::{
        PodParts,
        fixtures::{agent, binding, recorded, time},
    },
};

fn pod(agents: bool) -> PodView {
    let mut object = value(EPHEMERAL);
    if !agents {
        object["spec"]["ephemeralContainers"] = json!([]);
    }
    let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
    let parts: PodParts = serde_json::from_value(object).unwrap();
    PodView::of(&meta, &parts).unwrap()
}

#[test]
fn a_job_of_the_same_name_is_another_agent() {
    let mut view = View::default();
    let first = view.apply_job(&job(RUNNING));
    let mut again = job(RUNNING);
    again.metadata.uid = Some("other".into());
    let about = view.apply_job(&again);
    assert_eq!((about.len(), &about[0]), (2, &first[0]));
    assert!(view.agent(&about[0]).is_none() && view.agent(&about[1]).is_some());
    let mut lost = job(RUNNING);
    lost.metadata.labels = None;
    assert_eq!(view.apply_job(&lost), about[1..]);
    assert!(view.agents().is_empty());
}

#[test]
fn agents_that_come_while_somebody_looks() {
    let mut view = View::default();
    // In a Pod that is new, or was not known, it counts when the Pod was created.
    let id = view.apply_pod(pod(true), Some(time(5))).remove(0);
    assert_eq!(view.agent(&id).unwrap().added, None);
    view.apply_pod(pod(false), Some(time(6)));
    assert!(view.agent(&id).is_none());
    // Listed: it may have come at any time.
    view.apply_pod(pod(true), None);
    assert_eq!(view.agent(&id).unwrap().added, None);
    view.apply_pod(pod(false), Some(time(7)));
    view.apply_pod(pod(true), Some(time(8)));
    assert_eq!(view.agent(&id).unwrap().added, Some(time(8)));
    // And stays so.
    view.apply_pod(pod(true), None);
    assert_eq!(view.agent(&id).unwrap().added, Some(time(8)));
    assert_eq!(view.retain_pods(&HashSet::new()), [id]);
    assert_eq!(view.pods(), 0);
}

#[test]
fn the_watch_takes_back_nothing_that_was_written() {
    let mut view = View::default();
    let (mut first, id) = (job(RUNNING), agent().id);
    first.metadata.resource_version = Some("9".into());
    let mut tied = first.clone();
    tied.metadata.resource_version = Some("10".into());
    let session = recorded("1", &agent(), "alice");
    let text = binding(&agent(), &session).text();
    let annotations = tied.metadata.annotations.get_or_insert_default();
    annotations.insert(SESSION.into(), text);
    view.apply_job(&first);
    view.apply_job(&tied);
    assert!(view.apply_job(&first).is_empty());
    assert!(view.agent(&id).unwrap().binding.is_some());

    let at = |version: &str, reported: bool| {
        let mut session = Session::new("s", SessionSpec::default());
        session.spec.owner = Some(Owner::default());
        session.metadata.namespace = Some("shop".into());
        session.metadata.uid = Some("1".into());
        session.metadata.resource_version = Some(version.into());
        session.metadata.annotations = Some([(AGENT.into(), id.to_string())].into());
        let reference = AgentReference::default();
        session.status = Some(SessionStatus {
            agent: reported.then_some(reference),
            ..SessionStatus::default()
        });
        session
    };
    let is_reported = |view: &View| view.sessions(&id)[0].reported;
    view.apply_session(&at("9", false));
    assert!(!is_reported(&view));
    view.apply_session(&at("10", true));
    assert!(view.apply_session(&at("9", false)).is_empty());
    assert!(is_reported(&view));
    // But for a list: the cluster may be an older one again.
    view.listing_sessions();
    view.apply_session(&at("9", false));
    assert!(!is_reported(&view));
}

#[test]
fn sessions_are_found_by_their_agent() {
    let mut view = View::default();
    let agent = agent();
    let first = recorded("1", &agent, "alice");
    let mut second = recorded("2", &agent, "alice");
    second.created = Some(time(1));
    view.insert_session(first.clone());
    view.insert_session(second.clone());
    assert_eq!(view.sessions(&agent.id), [second.clone(), first.clone()]);
    let mut other = first.clone();
    other.uid = "3".into();
    view.forget_session(&other);
    assert_eq!(view.sessions(&agent.id).len(), 2, "another of the same name");
    view.forget_session(&first);
    assert_eq!(view.agents(), from_ref(&agent.id));
    assert_eq!(view.retain_sessions(&HashSet::new()), from_ref(&agent.id));
    assert!(view.agents().is_empty());
}
