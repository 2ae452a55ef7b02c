//! Who else is on a target, for whoever starts a run on it: two that take the same traffic get in
//! each other's way.

use std::collections::BTreeSet;

use mirrord_sessions_crds::SessionState;

use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
    sessions::Tracker,
    text::printable,
};

/// How many are named.
const NAMED: usize = 3;
/// How much of a name is shown; the API server cuts long warnings.
const SHOWN: usize = 60;

/// What to tell a requester who starts a run on a target, if others' sessions are on it. Whose
/// these are is told of those that the requester sees.
///
/// `there` are the sessions of the target's namespace; `names` what the target is called, first as
/// it is to be told.
pub fn warning<'a>(
    there: impl Iterator<Item = &'a Tracker>,
    names: &[&str],
    requester: &Requester,
    viewer: Option<&Viewer>,
) -> Option<String> {
    let wanted = workload(names.first()?)?;
    let mut others = BTreeSet::new();
    let mut hidden = false;
    for tracker in on_target(there, names, &requester.username) {
        let owner = owner(tracker);
        let shown = viewer.is_some_and(|viewer| viewer.may(Verb::List, &tracker.view()));
        if shown && !owner.is_empty() {
            others.insert(owner);
        } else {
            hidden = true;
        }
    }
    let more = hidden || others.len() > NAMED;
    let mut names: Vec<String> =
        others.into_iter().take(NAMED).map(|name| printable(name, SHOWN)).collect();
    if more {
        names.push("somebody else".to_owned());
    }
    if names.is_empty() {
        return None;
    }
    let has = if names.len() == 1 { "has" } else { "have" };
    let wanted = printable(wanted, SHOWN);
    Some(format!("{} already {has} a session on {wanted}", names.join(", ")))
}

/// The sessions of others on a target that is called so.
pub fn on_target<'a>(
    there: impl Iterator<Item = &'a Tracker>,
    names: &[&str],
    user: &str,
) -> impl Iterator<Item = &'a Tracker> {
    let wanted: BTreeSet<&str> = names.iter().filter_map(|name| workload(name)).collect();
    there.filter(move |tracker| {
        is_concurrent(tracker, user)
            && workload(&tracker.spec.target).is_some_and(|target| wanted.contains(target))
    })
}

/// Whether it is a session of somebody else's that may get in this user's way.
#[must_use]
pub fn is_concurrent(tracker: &Tracker, user: &str) -> bool {
    tracker.status.state != SessionState::Terminated
        && owner(tracker) != user
        && workload(&tracker.spec.target).is_some()
}

fn owner(tracker: &Tracker) -> &str {
    let owner = tracker.spec.owner.as_ref();
    owner.map_or("", |owner| owner.username.as_str())
}

/// The target without its container; none where there is nothing to get in the way of.
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
    fn neighbours() {
        let tracker = |name: &str, target: &str, owner: &str| {
            let session = session("shop", name).target(target).owned_by(owner).session(1);
            Tracker::new(&session).unwrap()
        };
        let there = [
            tracker("a", "deployment/web", "alice"),
            tracker("b", "deployment/web/container/api", "bob"),
            tracker("c", "deployment/web", "bob"),
            tracker("d", "deployment/db", "dave\u{1b}"),
            tracker("e", "targetless", "erin"),
            tracker("f", "unresolved", "erin"),
        ];
        let hides =
            "deny: {rules: [{resources: ['*'], verbs: [list], where: tracker.host_user == 'bob'}]}";
        let (hides, errors) = Policy::from_spec("p", &serde_saphyr::from_str(hides).unwrap());
        assert_eq!(errors, []);
        let requester = |name: &str| Requester { username: name.into(), ..Requester::default() };
        let all = PolicySet::default();
        let some = PolicySet::new("", [hides]);
        let cases = [
            // (who, target, policies, told)
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
                Some("alice, somebody else already have a session on deployment/web"),
            ),
            (
                "alice",
                "deployment/web",
                &some,
                Some("somebody else already has a session on deployment/web"),
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
        for (who, target, policies, told) in cases {
            let requester = requester(who);
            let viewer = policies.viewer(&requester, JoinRights::Nowhere);
            let found = warning(there.iter(), &[target], &requester, Some(&viewer));
            assert_eq!(found.as_deref(), told, "{who} on {target}");
        }
        // Until policies are known nobody is named.
        let found = warning(there.iter(), &["deployment/db"], &requester("alice"), None);
        assert_eq!(found.as_deref(), Some("somebody else already has a session on deployment/db"));
        // By whichever of its names; told by the first.
        let names = ["deployment/x", "pod/x-1", "deployment/db/container/c"];
        let found = warning(there.iter(), &names, &requester("alice"), None);
        assert_eq!(found.as_deref(), Some("somebody else already has a session on deployment/x"));
        assert_eq!(warning(there.iter(), &[], &requester("alice"), None), None);
    }
}
