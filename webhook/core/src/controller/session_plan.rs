//! The Session that an agent gets.

use mirrord_sessions_crds::{
    AgentReference, Client, Owner, Session, SessionSpec, SessionState, SessionStatus,
    UNVERIFIED_USERNAME,
};

use super::{AGENT, Agent, AgentKind, Target, Verdict};
use crate::{
    identity::user_line,
    text::{is_unsafe, printable},
};

/// A Session to be, but for its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its namespace.
    pub namespace: String,
    pub(crate) spec: SessionSpec,
    /// What it targets.
    pub target: Target,
    agent: String,
    /// What becomes of its status.
    pub status: SessionStatus,
    /// Why its owner isn't known.
    pub unverified: Option<&'static str>,
    /// Why its target isn't.
    pub unresolved: Option<String>,
    /// A Session holds less than the client says of itself.
    pub altered: bool,
}

impl Draft {
    /// The Session of an agent.
    #[must_use]
    pub fn new(agent: &Agent, target: &Target, verdict: &Verdict) -> Self {
        let (owner, unverified) = match verdict {
            Verdict::Verified(owner) => (owner.clone(), None),
            Verdict::Unverified(why) => {
                (Owner { username: UNVERIFIED_USERNAME.to_owned(), ..Owner::default() }, Some(*why))
            }
        };
        let client = client(agent);
        let user = user_line(client.as_ref(), &owner);
        let problems: Vec<String> = unverified
            .map(|why| format!("The owner is not verified: of the agent, {why}."))
            .into_iter()
            .chain(target.problem.as_ref().map(|why| format!("The target is not resolved: {why}.")))
            .collect();
        let key = agent.words.key.as_deref().and_then(|key| clean(key, &[]));
        let kept = client.as_ref().map(|it| (&it.username, &it.hostname));
        let words = &agent.words;
        let same = kept.unwrap_or((&None, &None)) == (&words.username, &words.hostname)
            && key == words.key;
        Self {
            altered: words.cut || !same,
            namespace: target.namespace.clone(),
            spec: SessionSpec {
                target: target.path.clone(),
                client,
                key,
                owner: Some(owner),
                user: Some(user),
            },
            target: target.clone(),
            agent: agent.id.to_string(),
            status: SessionStatus {
                state: SessionState::Running,
                agent: Some(reference(agent)),
                message: (!problems.is_empty()).then(|| problems.join(" ")),
                ..SessionStatus::default()
            },
            unverified,
            unresolved: target.problem.clone(),
        }
    }

    /// Without what the client says of itself, for an API server that doesn't take it.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.spec.client = None;
        self.spec.key = None;
        self.spec.user = self.spec.owner.as_ref().map(|owner| user_line(None, owner));
        self
    }

    /// The Session, by this name.
    #[must_use]
    pub fn session(&self, name: &str) -> Session {
        let mut session = Session::new(name, self.spec.clone());
        session.metadata.namespace = Some(self.namespace.clone());
        session.metadata.annotations = Some([(AGENT.to_owned(), self.agent.clone())].into());
        session
    }

    /// Whether a Session that has a name already is the one that this would be: recorded for the
    /// same agent, by the controller alone, and for the same owner.
    #[must_use]
    pub fn is(&self, session: &Session) -> bool {
        let annotations = session.metadata.annotations.as_ref();
        let agent = annotations.and_then(|all| all.get(AGENT));
        let username = |spec: &SessionSpec| spec.owner.as_ref().map(|owner| owner.username.clone());
        let owner = username(&session.spec);
        agent == Some(&self.agent)
            && (owner == username(&self.spec) || owner.as_deref() == Some(UNVERIFIED_USERNAME))
    }
}

/// What stands in the way of stopping a run by deleting its Session, for whoever does.
#[must_use]
pub fn deletion_warning(session: &Session) -> Option<String> {
    let agent = session.status.as_ref()?.agent.as_ref()?;
    (agent.kind == AgentKind::Pod.as_str()).then(|| {
        // The API server cuts warnings after 256 characters.
        let pod = printable(&agent.name, 63);
        format!(
            "the run goes on, and its Session comes back, until it ends: Kubernetes can't remove its agent, \
             an ephemeral container; to end it delete pod {pod} in namespace {}",
            agent.namespace
        )
    })
}

fn reference(agent: &Agent) -> AgentReference {
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

/// What the client says, as the schema takes it.
fn client(agent: &Agent) -> Option<Client> {
    const SLASHES: [char; 5] = ['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'];
    let words = &agent.words;
    let client = Client {
        username: words.username.as_deref().and_then(|word| clean(word, &SLASHES)),
        hostname: words.hostname.as_deref().and_then(|word| clean(word, &['/', '@'])),
        version: agent.version.clone(),
    };
    (client != Client::default()).then_some(client)
}

/// The word without what is invisible, and without these.
fn clean(word: &str, without: &[char]) -> Option<String> {
    let word: String = word.chars().filter(|c| !is_unsafe(*c) && !without.contains(c)).collect();
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::Stamp,
        controller::{
            Ground, Words,
            fixtures::{agent, ephemeral, time},
            owner,
        },
    };

    fn draft(agent: &Agent) -> Draft {
        let ground = Ground {
            jobs_guarded: Some(time(0)),
            ephemeral_guarded: Some(time(0)),
            definition: None,
        };
        Draft::new(agent, &Target::targetless("shop"), &owner(agent, &ground))
    }

    #[test]
    fn a_session_says_whose_and_of_which_agent() {
        let agent = Agent {
            words: Words {
                username: Some("Avi\u{1b}[2J/root".into()),
                hostname: Some("a@b\u{202e}c".into()),
                key: Some("\n".into()),
                ..Words::default()
            },
            ..agent()
        };
        assert!(!draft(&super::super::fixtures::agent()).altered);
        let draft = draft(&agent);
        assert!(draft.altered);
        let session = draft.session("487f4f2b6d2376ad");
        assert_eq!(session.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(session.metadata.annotations.as_ref().unwrap()[AGENT], agent.id.to_string());
        let spec = &session.spec;
        assert_eq!(spec.user.as_deref(), Some("Avi[2Jroot/alice@abc"));
        assert_eq!(spec.key, None);
        assert_eq!(spec.owner.as_ref().unwrap().groups, ["devs"]);
        assert_eq!(spec.client.as_ref().unwrap().version.as_deref(), Some("3.250.0"));
        assert_eq!(draft.status.message, None);
        let bare = draft.without_words().session("a").spec;
        assert_eq!((bare.client, bare.user.as_deref()), (None, Some("alice")));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let agent = Agent { stamp: Stamp::Missing, ..agent() };
        let draft = Draft::new(
            &agent,
            &Target::unresolved("shop", "no Pod has its container".into()),
            &owner(&agent, &Ground::default()),
        );
        let spec = draft.session("a").spec;
        assert_eq!(spec.owner.unwrap().username, UNVERIFIED_USERNAME);
        assert_eq!(spec.target, "unresolved");
        let message = draft.status.message.unwrap();
        assert_eq!(
            message,
            "The owner is not verified: of the agent, it has no stamp: the webhook was not asked when it started. \
             The target is not resolved: no Pod has its container."
        );
    }

    #[test]
    fn strangers_are_told_apart() {
        let draft = draft(&agent());
        let mine = draft.session("a");
        assert!(draft.is(&mine));
        let mut stranger = mine.clone();
        stranger.metadata.annotations = None;
        assert!(!draft.is(&stranger), "no annotation");
        let mut stranger = mine.clone();
        stranger.spec.owner.get_or_insert_default().username = "mallory".into();
        assert!(!draft.is(&stranger), "another owner");
        let mut unverified = mine;
        unverified.spec.owner.get_or_insert_default().username = UNVERIFIED_USERNAME.into();
        assert!(draft.is(&unverified));
    }

    #[test]
    fn what_cannot_be_removed_is_told() {
        let session = |agent: &Agent| {
            let draft = draft(agent);
            let mut session = draft.session("a");
            session.status = Some(draft.status);
            session
        };
        assert_eq!(deletion_warning(&session(&agent())), None);
        let warning = deletion_warning(&session(&ephemeral())).unwrap();
        assert!(warning.contains("pod mirrord-agent-hgpswxnb1g in namespace default"), "{warning}");
        assert!(warning.len() < 256);
        assert_eq!(deletion_warning(&draft(&ephemeral()).session("a")), None);
    }
}
