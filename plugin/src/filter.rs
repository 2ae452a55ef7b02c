//! Filters of the plugin that no selector of the API server can express.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use serde_json::Value;

use crate::session::Session;

/// A target as typed by users: `deployment/shop`, `deploy/shop`, with or without `/container/NAME`,
/// or the name alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The full name of the kind; any kind if absent.
    kind: Option<String>,
    name: String,
    container: Option<String>,
}

/// The kinds of matches_targets, each with its short names.
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

/// The error about a text that is not a target.
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
    /// Returns whether this target matches that of a session. Without a container, any container
    /// matches.
    #[must_use]
    pub fn matches(&self, target: &str) -> bool {
        let Ok(target) = target.parse::<Self>() else {
            return false;
        };
        let fits =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.name == target.name
            && fits(&self.kind, &target.kind)
            && fits(&self.container, &target.container)
    }

    /// Returns whether the target names a container.
    #[must_use]
    pub fn has_container(&self) -> bool {
        self.container.is_some()
    }

    /// Returns the target without its container.
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

/// The conditions on shown sessions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Only sessions of this user, by Kubernetes user name or by whoami.
    pub user: Option<String>,
    /// Only sessions owned by this Kubernetes user.
    pub owner: Option<String>,
    /// Only sessions on this target.
    pub target: Option<Target>,
    /// Only sessions that take traffic of this port.
    pub port: Option<u16>,
    /// Whether ended sessions are shown.
    pub over: bool,
    /// Whether mirrord's preview environments are shown.
    pub previews: bool,
}

impl Filter {
    /// Returns the sessions of a page that the filter shows.
    #[must_use]
    pub fn retain(&self, mut page: Vec<Value>) -> Vec<Value> {
        page.retain(|item| self.shows(&Session::from_object(item)));
        page
    }

    /// Returns whether the filter shows a session.
    #[must_use]
    pub fn shows(&self, session: &Session) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| found.as_ref() == Some(wanted))
        };
        let on_target =
            |target: &Target| session.target.as_deref().is_some_and(|found| target.matches(found));
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

/// The owners of live sessions by target.
#[derive(Clone, Debug, Default)]
pub struct ConcurrentSessions(HashMap<(String, Target), BTreeSet<String>>);

impl ConcurrentSessions {
    /// Groups sessions by target.
    #[must_use]
    pub fn new<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> Self {
        let mut concurrent = Self::default();
        for session in sessions.into_iter().filter(|session| !session.is_over()) {
            let owner = session.owner.as_ref().or(session.user.as_ref());
            if let (Some(target_key), Some(owner)) = (Self::target_key(session), owner) {
                concurrent.0.entry(target_key).or_default().insert(owner.clone());
            }
        }
        concurrent
    }

    /// Returns the other owners of sessions on the target of a session, without duplicates.
    #[must_use]
    pub fn concurrent_owners(&self, session: &Session) -> Vec<&str> {
        let there = Self::target_key(session).and_then(|target_key| self.0.get(&target_key));
        there
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|name| session.owner.as_deref().or(session.user.as_deref()) != Some(name))
            .collect()
    }

    /// Returns the namespace and target of a session, without the container.
    fn target_key(session: &Session) -> Option<(String, Target)> {
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
    fn matches_targets() {
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
            assert_eq!(wanted.matches(target), expected, "{wanted} {target}");
        }
        for bad in ["", "a/", "/a", "a/b/c", "a/b/container/", "a/b/c/d/e"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn applies_filters() {
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
    fn lists_other_owners_on_a_target() {
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
        let concurrent = ConcurrentSessions::new(&all);
        assert_eq!(concurrent.concurrent_owners(&mine), ["eve", "zoe"]);
        let free = [session("me", "targetless"), session("eve", "targetless")];
        assert!(ConcurrentSessions::new(&free).concurrent_owners(&free[0]).is_empty());
    }
}
