//! The plugin's own filters: those that no selector of the API server can express.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use crate::session::Session;

/// A target as a person types it: `deployment/shop`, `deploy/shop`, with `/container/NAME` or
/// without, or the name alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The kind in full; any if there is none.
    kind: Option<String>,
    name: String,
    container: Option<String>,
}

/// Kinds of targets, and what kubectl and people write for them.
const KINDS: [(&str, &[&str]); 8] = [
    ("cronjob", &["cj", "cronjobs"]),
    ("deployment", &["deploy", "deployments"]),
    ("job", &["jobs"]),
    ("pod", &["po", "pods"]),
    ("replicaset", &["rs", "replicasets"]),
    ("rollout", &["ro", "rollouts"]),
    ("service", &["svc", "services"]),
    ("statefulset", &["sts", "statefulsets"]),
];

/// The text can't be a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidTarget(String);

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a target: expected KIND/NAME, as deployment/ip-visit-counter, KIND/NAME/container/NAME, or targetless",
            self.0
        )
    }
}

impl std::error::Error for InvalidTarget {}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, name, container) = match parts[..] {
            [name] => (None, name, None),
            [kind, name] => (Some(kind), name, None),
            [kind, name, "container", container] => (Some(kind), name, Some(container)),
            _ => return Err(InvalidTarget(text.to_owned())),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(InvalidTarget(text.to_owned()));
        }
        Ok(Self {
            kind: kind.map(full_kind),
            name: name.to_owned(),
            container: container.map(ToOwned::to_owned),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = &self.kind {
            write!(f, "{kind}/")?;
        }
        f.write_str(&self.name)?;
        match &self.container {
            Some(container) => write!(f, "/container/{container}"),
            None => Ok(()),
        }
    }
}

impl Target {
    /// Whether a session's target is this one. Where no container is named, any of them.
    #[must_use]
    pub fn is(&self, target: &str) -> bool {
        let Ok(target) = target.parse::<Self>() else {
            return false;
        };
        let fits =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.name == target.name
            && fits(&self.kind, &target.kind)
            && fits(&self.container, &target.container)
    }

    /// Whether it is one container.
    #[must_use]
    pub fn has_container(&self) -> bool {
        self.container.is_some()
    }

    /// The same without its container.
    #[must_use]
    pub fn without_container(mut self) -> Self {
        self.container = None;
        self
    }
}

fn full_kind(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let known =
        KINDS.iter().find(|(name, others)| *name == kind || others.contains(&kind.as_str()));
    known.map_or(kind, |(name, _)| (*name).to_owned())
}

/// Which sessions are shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Only those of this user, by Kubernetes user name or by whoami.
    pub user: Option<String>,
    /// Only those that this Kubernetes user owns.
    pub owner: Option<String>,
    /// Only those on this target.
    pub target: Option<Target>,
    /// Only those that take traffic of this port.
    pub port: Option<u16>,
    /// Those that are over too.
    pub over: bool,
    /// mirrord's preview environments too.
    pub previews: bool,
}

impl Filter {
    /// Whether the session is shown.
    #[must_use]
    pub fn shows(&self, session: &Session) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| found.as_ref() == Some(wanted))
        };
        let on_target =
            |target: &Target| session.target.as_deref().is_some_and(|found| target.is(found));
        let has_port =
            |port: u16| session.ports.iter().any(|found| found.number == Some(port.into()));
        (is(&self.user, &session.owner) || is(&self.user, &session.client_user))
            && is(&self.owner, &session.owner)
            && self.target.as_ref().is_none_or(on_target)
            && self.port.is_none_or(has_port)
            && (self.over || !session.is_over())
            && (self.previews || !session.is_preview())
    }
}

/// Who is on which target.
#[derive(Clone, Debug, Default)]
pub struct Crowd(HashMap<(String, Target), BTreeSet<String>>);

impl Crowd {
    /// Of these sessions.
    #[must_use]
    pub fn of<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> Self {
        let mut crowd = Self::default();
        for session in sessions.into_iter().filter(|session| !session.is_over()) {
            let owner = session.owner.as_ref().or(session.user.as_ref());
            if let (Some(place), Some(owner)) = (Self::place(session), owner) {
                crowd.0.entry(place).or_default().insert(owner.clone());
            }
        }
        crowd
    }

    /// Who else is on a session's target: the owners of other people's sessions there, each once.
    #[must_use]
    pub fn others(&self, session: &Session) -> Vec<&str> {
        let there = Self::place(session).and_then(|place| self.0.get(&place));
        there
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|name| session.owner.as_deref().or(session.user.as_deref()) != Some(name))
            .collect()
    }

    /// The target, if it is one, whichever container of it is meant.
    fn place(session: &Session) -> Option<(String, Target)> {
        let target: Target = session.target.as_deref()?.parse().ok()?;
        (target.name != "targetless")
            .then(|| (session.namespace.clone(), target.without_container()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Port;

    fn session(owner: &str, target: &str) -> Session {
        Session {
            namespace: "shop".into(),
            owner: Some(owner.into()),
            target: Some(target.into()),
            ..Session::default()
        }
    }

    #[test]
    fn targets() {
        let cases = [
            ("deployment/a", "deployment/a", true),
            ("deployment/a", "deployment/a/container/c", true),
            ("deploy/a", "deployment/a", true),
            ("Deployments/a", "deployment/a", true),
            ("a", "statefulset/a", true),
            ("deployment/a/container/c", "deployment/a", false),
            ("deployment/a/container/c", "deployment/a/container/c", true),
            ("pod/a", "deployment/a", false),
            ("deployment/a", "deployment/ab", false),
            ("targetless", "targetless", true),
            ("vm/a", "vm/a", true),
            ("a", "a/b/c", false),
        ];
        for (wanted, target, expected) in cases {
            let wanted: Target = wanted.parse().unwrap();
            assert_eq!(wanted.is(target), expected, "{wanted} {target}");
        }
        for bad in ["", "a/", "/a", "a/b/c", "a/b/container/", "a/b/c/d/e"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn filters() {
        let session = Session {
            client_user: Some("Avi".into()),
            ports: vec![Port { number: Some(80), line: String::new() }],
            ..session("avi@x", "deployment/a")
        };
        let over = Session { state: Some("terminated".into()), ..session.clone() };
        let all = Filter::default();
        let user = |user: &str| Filter { user: Some(user.into()), ..Filter::default() };
        let cases = [
            ("nothing", &session, all.clone(), true),
            ("over", &over, all, false),
            ("over, asked for", &over, Filter { over: true, ..Filter::default() }, true),
            ("user", &session, user("avi@x"), true),
            ("whoami", &session, user("Avi"), true),
            ("a part", &session, user("avi"), false),
            ("owner", &session, Filter { owner: Some("Avi".into()), ..Filter::default() }, false),
            ("port", &session, Filter { port: Some(80), ..Filter::default() }, true),
            ("other port", &session, Filter { port: Some(81), ..Filter::default() }, false),
            ("target", &session, Filter { target: "a".parse().ok(), ..Filter::default() }, true),
            (
                "other target",
                &session,
                Filter { target: "b".parse().ok(), ..Filter::default() },
                false,
            ),
        ];
        for (name, session, filter, expected) in cases {
            assert_eq!(filter.shows(session), expected, "{name}");
        }
    }

    #[test]
    fn who_else_is_on_a_target() {
        let mine = session("me", "deployment/a");
        let mut elsewhere = session("far", "deployment/a");
        elsewhere.namespace = "other".into();
        let mut over = session("gone", "deployment/a");
        over.state = Some("terminated".into());
        let all = [
            mine.clone(),
            session("me", "deployment/a"),
            session("zoe", "deployment/a/container/c"),
            session("eve", "deployment/a"),
            session("eve", "deployment/a"),
            session("else", "deployment/b"),
            elsewhere,
            over,
        ];
        let crowd = Crowd::of(&all);
        assert_eq!(crowd.others(&mine), ["eve", "zoe"]);
        let free = [session("me", "targetless"), session("eve", "targetless")];
        assert!(Crowd::of(&free).others(&free[0]).is_empty());
    }
}
