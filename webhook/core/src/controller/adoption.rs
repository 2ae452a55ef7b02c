//! Whether an agent belongs to a Session that was created for its run before it.
//!
//! The client says so in an annotation, which is its word only. What counts is who asked for
//! either: the agent's stamp and the Session's owner, both the cluster's word.

use mirrord_sessions_crds::{Session, SessionId};

use super::{AGENT, Agent, AgentId, Draft};

/// The Session that the client says it created for the run, in the namespace of the draft; none if
/// it says nothing.
///
/// # Errors
/// Why that is not believed, whatever Session it may be.
#[must_use]
pub fn claim(agent: &Agent, draft: &Draft) -> Option<Result<SessionId, &'static str>> {
    let name = agent.words.session.as_deref()?;
    let id = name.parse::<SessionId>().ok();
    Some(match id {
        None => Err("that is no name of a Session"),
        Some(_) if draft.unverified.is_some() => Err("the agent's owner is not verified"),
        Some(_) if draft.unresolved.is_some() => Err("the agent's target is not resolved"),
        Some(id) => Ok(id),
    })
}

/// Takes the agent of a draft into the Session of the name that the client says, as it is stored.
///
/// # Errors
/// Why it is not the agent's, which gets another.
pub fn adoption(
    agent: &Agent,
    draft: &Draft,
    session: Option<&Session>,
) -> Result<(), &'static str> {
    let Some(session) = session else {
        return Err("there is none of that name in the namespace of the target");
    };
    let annotations = session.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(AGENT)) {
        return Err("it was recorded for another agent");
    }
    if session.metadata.deletion_timestamp.is_some() {
        return Err("it is about to go");
    }
    let is_same = match (&session.spec.owner, &draft.spec.owner) {
        (Some(theirs), Some(own)) => theirs.username == own.username && theirs.uid == own.uid,
        _ => false,
    };
    if !is_same {
        return Err("it is somebody else's");
    }
    if !draft.target.is_meant_by(&session.spec.target) {
        return Err("it has another target");
    }
    let bound = session.status.as_ref().and_then(|status| status.agent.as_ref());
    match bound.map(AgentId::of) {
        None => Ok(()),
        // Written before somebody could go on with it.
        Some(Some(id)) if id == agent.id => Ok(()),
        Some(_) => Err("another agent is tied to it"),
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
            Ground, PodParts, PodView, Target, Words,
            fixtures::{agent, stamp, time},
            owner,
        },
    };

    const NAME: &str = "487f4f2b6d2376ad";

    fn claiming(name: &str) -> Agent {
        let words = Words { session: Some(name.into()), ..Words::default() };
        Agent { words, ..agent() }
    }

    fn draft_on(agent: &Agent, target: &Target) -> Draft {
        let ground = Ground { jobs_guarded: Some(time(0)), ..Ground::default() };
        Draft::new(agent, target, &owner(agent, &ground))
    }

    fn draft(agent: &Agent) -> Draft {
        draft_on(agent, &Target::targetless("shop"))
    }

    fn wrapper() -> Session {
        let owner = Owner { username: "alice".into(), ..Owner::default() };
        let spec = SessionSpec {
            target: "targetless".into(),
            owner: Some(owner),
            ..SessionSpec::default()
        };
        Session::new(NAME, spec)
    }

    #[test]
    fn claims() {
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
            let claimed = claim(&agent, &draft(&agent)).unwrap();
            let name_of = claimed.as_ref().ok().map(SessionId::name);
            assert_eq!(name_of, expected, "{name:?}");
        }
        assert_eq!(claim(&agent(), &draft(&agent())), None);
        let unverified = Agent { stamp: Stamp::Missing, ..claiming(NAME) };
        let why = claim(&unverified, &draft(&unverified));
        assert_eq!(why, Some(Err("the agent's owner is not verified")));
        let nowhere = Target::unresolved("shop", "no Pod has its container".into());
        let claiming = claiming(NAME);
        let why = claim(&claiming, &draft_on(&claiming, &nowhere));
        assert_eq!(why, Some(Err("the agent's target is not resolved")));
    }

    #[test]
    fn whose_session_it_is() {
        let agent = claiming(NAME);
        let with = |change: &dyn Fn(&mut Session)| {
            let mut session = wrapper();
            change(&mut session);
            Some(session)
        };
        let tied = |uid: &str| {
            let mut reference = draft(&agent).status.agent;
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
            ("the wrapper's", with(&|_| ()), Ok(())),
            ("none", None, Err("there is none")),
            (
                "a stranger's",
                with(&|session| owner(session, "mallory", None)),
                Err("somebody else's"),
            ),
            (
                "of another user of that name",
                with(&|session| owner(session, "alice", Some("7"))),
                Err("somebody else's"),
            ),
            ("nobody's", with(&|session| session.spec.owner = None), Err("somebody else's")),
            (
                "another target",
                with(&|session| session.spec.target = "deployment/web".into()),
                Err("another target"),
            ),
            (
                "with another agent",
                with(&|session| session.status = tied("other")),
                Err("another agent is tied"),
            ),
            ("with this agent", with(&|session| session.status = tied(&agent.id.uid)), Ok(())),
            (
                "recorded by the controller",
                with(&|session| {
                    let annotations = session.metadata.annotations.get_or_insert_default();
                    annotations.insert(AGENT.into(), String::new());
                }),
                Err("recorded for"),
            ),
            (
                "on its way out",
                with(&|session| {
                    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
                    session.metadata.deletion_timestamp = Some(Time(time(1)));
                }),
                Err("about to go"),
            ),
        ];
        for (name, session, expected) in cases {
            match (adoption(&agent, &draft(&agent), session.as_ref()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{name}: {why}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let other = Agent { stamp: stamp("bob"), ..agent };
        assert!(adoption(&other, &draft(&other), Some(&wrapper())).is_err());
    }

    #[test]
    fn targets_that_are_the_same() {
        let object = value(EPHEMERAL);
        let meta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let parts: PodParts = serde_json::from_value(object).unwrap();
        let pod = PodView::of(&meta, &parts).unwrap();
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
            assert_eq!(target.is_meant_by(&path), expected, "{path}");
        }
        let nowhere = Target::unresolved("shop", "why".into());
        assert!(!nowhere.is_meant_by("unresolved"));
    }
}
