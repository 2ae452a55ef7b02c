//! Concurrent sessions of other users on the same target, which may compete for its traffic.

use std::collections::BTreeSet;

use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
    sessions::Tracker,
    text::printable,
};

/// The maximum number of users that a warning names.
const MAX_NAMES: usize = 3;
/// The maximum length of a name. The API server truncates long warnings.
const MAX_NAME_LENGTH: usize = 60;

/// Returns the warning for a requester who starts a session on a target of other users.
///
/// The warning names the owners of the sessions that the requester may see. `trackers` are those of
/// the target's namespace. `names` are all names of the target, and the warning uses the first.
pub fn warning<'a>(
    trackers: impl Iterator<Item = &'a Tracker>,
    names: &[&str],
    requester: &Requester,
    viewer: Option<&Viewer>,
) -> Option<String> {
    let target = workload(names.first()?)?;
    let mut owners = BTreeSet::new();
    let mut has_hidden = false;
    for tracker in on_target(trackers, names, &requester.username) {
        let owner = owner(tracker);
        let is_visible = viewer.is_some_and(|viewer| viewer.may(Verb::List, &tracker.view()));
        if is_visible && !owner.is_empty() {
            owners.insert(owner);
        } else {
            has_hidden = true;
        }
    }
    let has_more = has_hidden || owners.len() > MAX_NAMES;
    let mut names: Vec<String> =
        owners.into_iter().take(MAX_NAMES).map(|name| printable(name, MAX_NAME_LENGTH)).collect();
    if has_more {
        names.push("another user".to_owned());
    }
    if names.is_empty() {
        return None;
    }
    let verb = if names.len() == 1 { "has" } else { "have" };
    let target = printable(target, MAX_NAME_LENGTH);
    Some(format!("{} already {verb} a session on {target}", names.join(", ")))
}

/// Returns the sessions of other users on the target with these names.
pub fn on_target<'a>(
    trackers: impl Iterator<Item = &'a Tracker>,
    names: &[&str],
    user: &str,
) -> impl Iterator<Item = &'a Tracker> {
    let targets: BTreeSet<&str> = names.iter().filter_map(|name| workload(name)).collect();
    trackers.filter(move |tracker| {
        is_concurrent(tracker, user)
            && workload(&tracker.spec.target).is_some_and(|target| targets.contains(target))
    })
}

/// Returns whether a live session with a target belongs to another user.
#[must_use]
pub fn is_concurrent(tracker: &Tracker, user: &str) -> bool {
    !tracker.status.state.is_ending()
        && owner(tracker) != user
        && workload(&tracker.spec.target).is_some()
}

fn owner(tracker: &Tracker) -> &str {
    let owner = tracker.spec.owner.as_ref();
    owner.map_or("", |owner| owner.username.as_str())
}

/// Returns the target without its container, or `None` for a session without a target.
fn workload(target: &str) -> Option<&str> {
    if matches!(target, "targetless" | "unresolved") {
        return None;
    }
    Some(target.split_once("/container/").map_or(target, |(workload, _)| workload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{JoinRights, Policy, PolicySet},
        sessions::fixtures::session,
    };

    #[test]
    fn warns_of_sessions_of_other_users() {
        let tracker = |name: &str, target: &str, owner: &str| {
            let session = session("shop", name).target(target).owned_by(owner).session(1);
            Tracker::new(&session).unwrap()
        };
        let trackers = [
            tracker("a", "deployment/web", "alice"),
            tracker("b", "deployment/web/container/api", "bob"),
            tracker("c", "deployment/web", "bob"),
            tracker("d", "deployment/db", "dave\u{1b}"),
            tracker("e", "targetless", "erin"),
            tracker("f", "unresolved", "erin"),
        ];
        let hide_bob =
            "deny: {rules: [{resources: ['*'], verbs: [list], where: tracker.host_user == 'bob'}]}";
        let (hide_bob, errors) = Policy::from_spec("p", &serde_saphyr::from_str(hide_bob).unwrap());
        assert_eq!(errors, []);
        let requester = |name: &str| Requester { username: name.into(), ..Requester::default() };
        let all = PolicySet::default();
        let some = PolicySet::new("", [hide_bob]);
        let cases = [
            // (requester, target, policies, warning)
            ("alice", "deployment/web", &all, Some("bob already has a session on deployment/web")),
            (
                "alice",
                "deployment/web/container/x",
                &all,
                Some("bob already has a session on deployment/web"),
            ),
            (
                "carol",
                "deployment/web",
                &all,
                Some("alice, bob already have a session on deployment/web"),
            ),
            (
                "carol",
                "deployment/web",
                &some,
                Some("alice, another user already have a session on deployment/web"),
            ),
            (
                "alice",
                "deployment/web",
                &some,
                Some("another user already has a session on deployment/web"),
            ),
            (
                "alice",
                "deployment/db",
                &all,
                Some("dave\\x1b already has a session on deployment/db"),
            ),
            ("alice", "deployment/webs", &all, None),
            ("alice", "targetless", &all, None),
            ("alice", "unresolved", &all, None),
            ("alice", "", &all, None),
        ];
        for (user, target, policies, expected) in cases {
            let requester = requester(user);
            let viewer = policies.viewer(&requester, JoinRights::Nowhere);
            let found = warning(trackers.iter(), &[target], &requester, Some(&viewer));
            assert_eq!(found.as_deref(), expected, "{user} on {target}");
        }
        // Before the policies have been read, no user is named.
        let found = warning(trackers.iter(), &["deployment/db"], &requester("alice"), None);
        assert_eq!(found.as_deref(), Some("another user already has a session on deployment/db"));
        // Any name of the target matches, and the warning uses the first.
        let names = ["deployment/x", "pod/x-1", "deployment/db/container/c"];
        let found = warning(trackers.iter(), &names, &requester("alice"), None);
        assert_eq!(found.as_deref(), Some("another user already has a session on deployment/x"));
        assert_eq!(warning(trackers.iter(), &[], &requester("alice"), None), None);
    }
}
