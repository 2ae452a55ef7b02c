//! Adoption of a Session that the client created for the run before it started an agent.
//!
//! The client names the Session in an annotation of the agent, which proves nothing. The agent is
//! bound to the Session only if the stamp of the agent and the owner of the Session name the same
//! user. The cluster wrote both.

use mirrord_sessions_crds::{Session, SessionId};

use super::{Agent, AgentId, SessionPlan};
use crate::sessions::tracker::AGENT_ANNOTATION;

/// Returns the Session that the client claims for the agent, in the namespace of the plan.
///
/// Returns `None` if the client claims none.
///
/// # Errors
/// Returns the reason for which the claim is ignored without reading the Session.
#[must_use]
pub fn claimed_session(
    agent: &Agent,
    plan: &SessionPlan,
) -> Option<Result<SessionId, &'static str>> {
    let name = agent.client_info.session_name.as_deref()?;
    let id = name.parse::<SessionId>().ok();
    Some(match id {
        None => Err("the name is not a valid Session name"),
        Some(_) if plan.unverified.is_some() => Err("the owner of the agent is not verified"),
        Some(_) if plan.unresolved.is_some() => Err("the target of the agent is not resolved"),
        Some(id) => Ok(id),
    })
}

/// Checks that the agent may be bound to the claimed Session, as it is stored.
///
/// # Errors
/// Returns the reason for which the agent gets a Session of its own instead.
pub fn check_adoption(
    agent: &Agent,
    plan: &SessionPlan,
    session: Option<&Session>,
) -> Result<(), &'static str> {
    let Some(session) = session else {
        return Err("no Session of that name exists in the namespace of the target");
    };
    let annotations = session.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(AGENT_ANNOTATION)) {
        return Err("the Session was created for another agent");
    }
    if session.metadata.deletion_timestamp.is_some() {
        return Err("the Session is being deleted");
    }
    let is_same_owner = match (&session.spec.owner, &plan.spec.owner) {
        (Some(session), Some(agent)) => {
            session.username == agent.username && session.uid == agent.uid
        }
        _ => false,
    };
    if !is_same_owner {
        return Err("the Session belongs to another user");
    }
    if !plan.target.matches(&session.spec.target) {
        return Err("the Session has another target");
    }
    let bound = session.status.as_ref().and_then(|status| status.agent.as_ref());
    match bound.map(AgentId::from_reference) {
        None => Ok(()),
        // A previous attempt wrote the status and did not finish.
        Some(Some(id)) if id == agent.id => Ok(()),
        Some(_) => Err("another agent is bound to the Session"),
    }
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_crds::{Owner, SessionSpec, SessionStatus};

    use super::*;
    use crate::{
        agents::{
            Stamp,
            fixtures::{EPHEMERAL, value},
        },
        controller::{
            CachedPod, ClientInfo, PartialPod, Prerequisites, Target,
            fixtures::{agent, stamp, time},
            verify_owner,
        },
        guard::GuardState,
    };

    const NAME: &str = "487f4f2b6d2376ad";

    fn claiming(name: &str) -> Agent {
        let client_info = ClientInfo { session_name: Some(name.into()), ..ClientInfo::default() };
        Agent { client_info, ..agent() }
    }

    fn plan_with_target(agent: &Agent, target: &Target) -> SessionPlan {
        let prerequisites = Prerequisites {
            job_guard: GuardState::InForceSince(time(0)),
            ..Prerequisites::default()
        };
        SessionPlan::new(agent, target, &verify_owner(agent, &prerequisites))
    }

    fn plan(agent: &Agent) -> SessionPlan {
        plan_with_target(agent, &Target::targetless("shop"))
    }

    fn client_session() -> Session {
        let owner = Owner { username: "alice".into(), ..Owner::default() };
        let spec = SessionSpec {
            target: "targetless".into(),
            owner: Some(owner),
            ..SessionSpec::default()
        };
        Session::new(NAME, spec)
    }

    #[test]
    fn validates_claims() {
        let long = "a".repeat(254);
        for (name, expected) in [
            (NAME, Some(NAME)),
            ("my-session", Some("my-session")),
            ("487F4F2B6D2376AD", Some(NAME)),
            ("../../secrets/x", None),
            ("a?b", None),
            ("a\n", None),
            (&long, None),
        ] {
            let agent = claiming(name);
            let claimed = claimed_session(&agent, &plan(&agent)).unwrap();
            let claimed_name = claimed.as_ref().ok().map(SessionId::name);
            assert_eq!(claimed_name, expected, "{name:?}");
        }
        assert_eq!(claimed_session(&agent(), &plan(&agent())), None);
        let unverified = Agent { stamp: Stamp::Missing, ..claiming(NAME) };
        let reason = claimed_session(&unverified, &plan(&unverified));
        assert_eq!(reason, Some(Err("the owner of the agent is not verified")));
        let unresolved = Target::unresolved("shop", "no Pod has its container".into());
        let claiming = claiming(NAME);
        let reason = claimed_session(&claiming, &plan_with_target(&claiming, &unresolved));
        assert_eq!(reason, Some(Err("the target of the agent is not resolved")));
    }

    #[test]
    fn adopts_only_matching_sessions() {
        let agent = claiming(NAME);
        let with = |change: &dyn Fn(&mut Session)| {
            let mut session = client_session();
            change(&mut session);
            Some(session)
        };
        let bound_to = |uid: &str| {
            let mut reference = plan(&agent).status.agent;
            if let Some(reference) = &mut reference {
                reference.uid = uid.into();
            }
            Some(SessionStatus { agent: reference, ..SessionStatus::default() })
        };
        let owner = |session: &mut Session, username: &str, uid: Option<&str>| {
            let owner = session.spec.owner.get_or_insert_default();
            owner.username = username.into();
            owner.uid = uid.map(Into::into);
        };
        let cases = [
            ("Session of the client", with(&|_| ()), Ok(())),
            ("no Session", None, Err("no Session of that name")),
            (
                "Session of another user",
                with(&|session| owner(session, "mallory", None)),
                Err("belongs to another user"),
            ),
            (
                "same user name, other UID",
                with(&|session| owner(session, "alice", Some("7"))),
                Err("belongs to another user"),
            ),
            (
                "no owner",
                with(&|session| session.spec.owner = None),
                Err("belongs to another user"),
            ),
            (
                "other target",
                with(&|session| session.spec.target = "deployment/web".into()),
                Err("has another target"),
            ),
            (
                "bound to another agent",
                with(&|session| session.status = bound_to("other")),
                Err("another agent is bound"),
            ),
            (
                "bound to this agent",
                with(&|session| session.status = bound_to(&agent.id.uid)),
                Ok(()),
            ),
            (
                "created by the controller",
                with(&|session| {
                    let annotations = session.metadata.annotations.get_or_insert_default();
                    annotations.insert(AGENT_ANNOTATION.into(), String::new());
                }),
                Err("created for another agent"),
            ),
            (
                "being deleted",
                with(&|session| {
                    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
                    session.metadata.deletion_timestamp = Some(Time(time(1)));
                }),
                Err("is being deleted"),
            ),
        ];
        for (name, session, expected) in cases {
            match (check_adoption(&agent, &plan(&agent), session.as_ref()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(expected)) => {
                    assert!(reason.contains(expected), "{name}: {reason}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let other = Agent { stamp: stamp("bob"), ..agent };
        assert!(check_adoption(&other, &plan(&other), Some(&client_session())).is_err());
    }

    #[test]
    fn matches_equivalent_target_paths() {
        let object = value(EPHEMERAL);
        let meta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let parts: PartialPod = serde_json::from_value(object).unwrap();
        let pod = CachedPod::from_parts(&meta, &parts).unwrap();
        let container = pod.containers.first().unwrap();
        let target = Target::container(&pod, container, "deployment/web");
        for (path, expected) in [
            ("deployment/web".to_owned(), true),
            (format!("deployment/web/container/{}", container.name), true),
            (format!("pod/{}", pod.name), true),
            (format!("pod/{}/container/{}", pod.name, container.name), true),
            ("deployment/web/container/another".to_owned(), false),
            ("deployment/webs".to_owned(), false),
            ("targetless".to_owned(), false),
            ("unresolved".to_owned(), false),
        ] {
            assert_eq!(target.matches(&path), expected, "{path}");
        }
        let unresolved = Target::unresolved("shop", "reason".into());
        assert!(!unresolved.matches("unresolved"));
    }
}
