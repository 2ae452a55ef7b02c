//! The Session to create for an agent.

use mirrord_sessions_crds::{
    AgentReference, Client, Owner, Session, SessionSpec, SessionState, SessionStatus,
    UNVERIFIED_USERNAME,
};

use super::{Agent, AgentKind, AgentPhase, OwnerVerdict, Target};
use crate::{
    identity::user_line,
    sessions::tracker::AGENT_ANNOTATION,
    text::{is_unsafe, printable},
};

/// A Session to create, without its name.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPlan {
    /// The namespace of the Session.
    pub namespace: String,
    pub(crate) spec: SessionSpec,
    /// The target of the agent.
    pub target: Target,
    /// Value of the annotation that names the agent.
    agent_id: String,
    /// The status to write after the Session was created.
    pub status: SessionStatus,
    /// The reason for the unverified owner.
    pub unverified: Option<&'static str>,
    /// The reason for the unresolved target.
    pub unresolved: Option<String>,
    /// Set if the Session cannot hold all of the client's information about itself.
    pub client_info_altered: bool,
}

impl SessionPlan {
    /// Plans the Session of an agent.
    #[must_use]
    pub fn new(agent: &Agent, target: &Target, verdict: &OwnerVerdict) -> Self {
        let (owner, unverified) = match verdict {
            OwnerVerdict::Verified(owner) => (owner.clone(), None),
            OwnerVerdict::Unverified(reason) => {
                let owner = Owner { username: UNVERIFIED_USERNAME.to_owned(), ..Owner::default() };
                (owner, Some(*reason))
            }
        };
        let info = &agent.client_info;
        let client = sanitized_client(agent);
        let user = user_line(client.as_ref(), &owner);
        let problems: Vec<String> = unverified
            .map(|reason| format!("The owner is not verified: {reason}."))
            .into_iter()
            .chain(
                target
                    .problem
                    .as_ref()
                    .map(|reason| format!("The target is not resolved: {reason}.")),
            )
            .collect();
        let key = info.key.as_deref().and_then(|key| sanitize(key, &[]));
        let retained =
            client.as_ref().map_or((&None, &None), |client| (&client.username, &client.hostname));
        let is_retained = retained == (&info.username, &info.hostname) && key == info.key;
        Self {
            client_info_altered: info.truncated || !is_retained,
            namespace: target.namespace.clone(),
            spec: SessionSpec {
                target: target.path.clone(),
                client,
                key,
                owner: Some(owner),
                user: Some(user),
            },
            target: target.clone(),
            agent_id: agent.id.to_string(),
            status: SessionStatus {
                state: SessionState::Running,
                agent: Some(agent_reference(agent)),
                message: (!problems.is_empty()).then(|| problems.join(" ")),
                ..SessionStatus::default()
            },
            unverified,
            unresolved: target.problem.clone(),
        }
    }

    /// Adds a problem to the message in the status.
    pub fn add_problem(&mut self, problem: &str) {
        let message = self.status.message.get_or_insert_default();
        if !message.is_empty() {
            message.push(' ');
        }
        message.push_str(problem);
    }

    /// Removes the client's information about itself, for an API server that rejects it.
    #[must_use]
    pub fn without_client_info(mut self) -> Self {
        self.spec.client = None;
        self.spec.key = None;
        self.spec.user = self.spec.owner.as_ref().map(|owner| user_line(None, owner));
        self
    }

    /// Returns the Session with this name.
    #[must_use]
    pub fn session(&self, name: &str) -> Session {
        let mut session = Session::new(name, self.spec.clone());
        session.metadata.namespace = Some(self.namespace.clone());
        session.metadata.annotations =
            Some([(AGENT_ANNOTATION.to_owned(), self.agent_id.clone())].into());
        session
    }

    /// Returns whether an existing Session is the one that this plan creates.
    ///
    /// The annotation, which only the controller can write, must name the same agent. The owner
    /// must be the same or unverified.
    #[must_use]
    pub fn matches(&self, session: &Session) -> bool {
        let annotations = session.metadata.annotations.as_ref();
        let agent_id = annotations.and_then(|all| all.get(AGENT_ANNOTATION));
        let username = |spec: &SessionSpec| spec.owner.as_ref().map(|owner| owner.username.clone());
        let owner = username(&session.spec);
        agent_id == Some(&self.agent_id)
            && (owner == username(&self.spec) || owner.as_deref() == Some(UNVERIFIED_USERNAME))
    }
}

/// The part of a message that states why an agent does not run yet.
const PENDING: &str = "The agent does not run yet: ";

/// Sets the state of a status, and the reason for which the agent does not run yet.
///
/// The rest of the message, which was written when the Session was created, stays.
pub fn set_phase(status: &mut SessionStatus, phase: &AgentPhase) {
    let message = status.message.take().unwrap_or_default();
    let rest = message.split_once(PENDING).map_or(&*message, |(rest, _)| rest).trim_end();
    let pending = match phase {
        AgentPhase::Running => String::new(),
        AgentPhase::Pending(reason) => format!("{PENDING}{reason}."),
    };
    let message = [rest, &pending].join(" ");
    let message = message.trim();
    status.state = match phase {
        AgentPhase::Running => SessionState::Running,
        AgentPhase::Pending(_) => SessionState::Pending,
    };
    status.message = (!message.is_empty()).then(|| message.to_owned());
}

/// Returns the phase that a status shows, the inverse of [`set_phase`].
pub(super) fn shown_phase(status: &SessionStatus) -> Option<AgentPhase> {
    match status.state {
        SessionState::Running => Some(AgentPhase::Running),
        SessionState::Pending => {
            let (_, reason) = status.message.as_deref()?.split_once(PENDING)?;
            Some(AgentPhase::Pending(reason.strip_suffix('.')?.to_owned()))
        }
        SessionState::Terminating | SessionState::Terminated => None,
    }
}

/// Returns the warning for a client that deletes a Session whose agent cannot be removed.
#[must_use]
pub fn deletion_warning(session: &Session) -> Option<String> {
    let agent = session.status.as_ref()?.agent.as_ref()?;
    (agent.kind == AgentKind::Pod.as_str()).then(|| {
        // The API server truncates warnings to 256 characters.
        let pod = printable(&agent.name, 63);
        let namespace = printable(&agent.namespace, 63);
        format!(
            "the run goes on: Kubernetes can't remove its agent, an ephemeral container; \
             to stop it, delete pod {pod} in namespace {namespace}"
        )
    })
}

fn agent_reference(agent: &Agent) -> AgentReference {
    let id = &agent.id;
    AgentReference {
        kind: id.kind.as_str().to_owned(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        uid: id.uid.clone(),
        container: (!id.container.is_empty()).then(|| id.container.clone()),
        node: agent.node.clone(),
    }
}

/// Returns the client's information about itself without characters that the schema rejects.
fn sanitized_client(agent: &Agent) -> Option<Client> {
    const SLASHES: [char; 5] = ['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'];
    let info = &agent.client_info;
    let client = Client {
        username: info.username.as_deref().and_then(|text| sanitize(text, &SLASHES)),
        hostname: info.hostname.as_deref().and_then(|text| sanitize(text, &['/', '@'])),
        version: agent.version.clone(),
    };
    (client != Client::default()).then_some(client)
}

/// Removes invisible and control characters and the given ones.
fn sanitize(text: &str, removed: &[char]) -> Option<String> {
    let text: String = text.chars().filter(|c| !is_unsafe(*c) && !removed.contains(c)).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::Stamp,
        controller::{
            ClientInfo, Prerequisites,
            fixtures::{agent, ephemeral, time},
            verify_owner,
        },
        guard::GuardState,
    };

    fn plan(agent: &Agent) -> SessionPlan {
        let prerequisites = Prerequisites {
            job_guard: GuardState::InForceSince(time(0)),
            ephemeral_guard: GuardState::InForceSince(time(0)),
            crd: None,
        };
        SessionPlan::new(agent, &Target::targetless("shop"), &verify_owner(agent, &prerequisites))
    }

    #[test]
    fn builds_session_from_agent() {
        let agent = Agent {
            client_info: ClientInfo {
                username: Some("Avi\u{1b}[2J/root".into()),
                hostname: Some("a@b\u{202e}c".into()),
                key: Some("\n".into()),
                ..ClientInfo::default()
            },
            ..agent()
        };
        assert!(!plan(&super::super::fixtures::agent()).client_info_altered);
        let plan = plan(&agent);
        assert!(plan.client_info_altered);
        let session = plan.session("487f4f2b6d2376ad");
        assert_eq!(session.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(
            session.metadata.annotations.as_ref().unwrap()[AGENT_ANNOTATION],
            agent.id.to_string()
        );
        let spec = &session.spec;
        assert_eq!(spec.user.as_deref(), Some("Avi[2Jroot/alice@abc"));
        assert_eq!(spec.key, None);
        assert_eq!(spec.owner.as_ref().unwrap().groups, ["devs"]);
        assert_eq!(spec.client.as_ref().unwrap().version.as_deref(), Some("3.250.0"));
        assert_eq!(plan.status.message, None);
        let without_info = plan.without_client_info().session("a").spec;
        assert_eq!((without_info.client, without_info.user.as_deref()), (None, Some("alice")));
    }

    #[test]
    fn reports_unverified_owner_and_unresolved_target() {
        let agent = Agent { stamp: Stamp::Missing, ..agent() };
        let plan = SessionPlan::new(
            &agent,
            &Target::unresolved("shop", "no Pod has its container".into()),
            &verify_owner(&agent, &Prerequisites::default()),
        );
        let spec = plan.session("a").spec;
        assert_eq!(spec.owner.unwrap().username, UNVERIFIED_USERNAME);
        assert_eq!(spec.target, "unresolved");
        let message = plan.status.message.unwrap();
        assert_eq!(
            message,
            "The owner is not verified: the agent carries no stamp of its requester. \
             The target is not resolved: no Pod has its container."
        );
    }

    #[test]
    fn states_why_the_agent_does_not_run() {
        let pending = |reason: &str| AgentPhase::Pending(reason.into());
        for (message, phase, expected) in [
            (None, AgentPhase::Running, None),
            (None, pending("a"), Some("The agent does not run yet: a.")),
            (
                Some("No owner."),
                pending("a: b."),
                Some("No owner. The agent does not run yet: a: b.."),
            ),
            (
                Some("No owner. The agent does not run yet: a."),
                pending("b"),
                Some("No owner. The agent does not run yet: b."),
            ),
            (Some("The agent does not run yet: a."), AgentPhase::Running, None),
            (
                Some("No owner. The agent does not run yet: a."),
                AgentPhase::Running,
                Some("No owner."),
            ),
        ] {
            let mut status =
                SessionStatus { message: message.map(Into::into), ..SessionStatus::default() };
            set_phase(&mut status, &phase);
            assert_eq!(status.message.as_deref(), expected, "{message:?} {phase:?}");
            assert_eq!(shown_phase(&status), Some(phase), "{message:?}");
        }
        assert_eq!(shown_phase(&SessionStatus::default()), None, "not written yet");
    }

    #[test]
    fn matches_only_own_session() {
        let plan = plan(&agent());
        let own = plan.session("a");
        assert!(plan.matches(&own));
        let mut other = own.clone();
        other.metadata.annotations = None;
        assert!(!plan.matches(&other), "without the annotation");
        let mut other = own.clone();
        other.spec.owner.get_or_insert_default().username = "mallory".into();
        assert!(!plan.matches(&other), "another owner");
        let mut unverified = own;
        unverified.spec.owner.get_or_insert_default().username = UNVERIFIED_USERNAME.into();
        assert!(plan.matches(&unverified));
    }

    #[test]
    fn warns_when_agent_cannot_be_removed() {
        let session = |agent: &Agent| {
            let plan = plan(agent);
            let mut session = plan.session("a");
            session.status = Some(plan.status);
            session
        };
        assert_eq!(deletion_warning(&session(&agent())), None);
        let warning = deletion_warning(&session(&ephemeral())).unwrap();
        assert!(warning.contains("pod mirrord-agent-hgpswxnb1g in namespace default"), "{warning}");
        assert!(warning.len() < 256);
        let mut long = session(&ephemeral());
        let agent = long.status.as_mut().unwrap().agent.as_mut().unwrap();
        (agent.name, agent.namespace) = ("n".repeat(253), "s".repeat(63));
        assert!(deletion_warning(&long).unwrap().chars().count() <= 256);
        assert_eq!(deletion_warning(&plan(&ephemeral()).session("a")), None);
    }
}
