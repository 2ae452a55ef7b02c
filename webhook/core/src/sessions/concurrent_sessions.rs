//! Concurrent sessions of other users on the same target, which may compete for its traffic.

use std::collections::BTreeSet;

use crate::{identity::Requester, sessions::Tracker, text::printable};

/// The maximum length of a target. The API server truncates long warnings.
const MAX_TARGET_LENGTH: usize = 60;

/// Returns the warning for a requester who starts a session on a target of other users.
///
/// The warning names no user. The API server does not authenticate itself to webhooks, so any
/// client that reaches the port reads the warning in the name of any requester. `trackers` are
/// those of the target's namespace. `names` are all names of the target, and the warning uses the
/// first.
pub fn warning<'a>(
    trackers: impl Iterator<Item = &'a Tracker>,
    names: &[&str],
    requester: &Requester,
) -> Option<String> {
    let target = workload(names.first()?)?;
    on_target(trackers, names, &requester.username).next()?;
    let target = printable(target, MAX_TARGET_LENGTH);
    Some(format!(
        "another user already has a session on {target}: kubectl mirrord-sessions list --target {target} \
         shows the sessions that you may see"
    ))
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
    use crate::sessions::fixtures::session;

    #[test]
    fn warns_of_sessions_of_other_users_without_names() {
        let tracker = |name: &str, target: &str, owner: &str| {
            let session = session("shop", name).target(target).owned_by(owner).session(1);
            Tracker::new(&session).unwrap()
        };
        let trackers = [
            tracker("a", "deployment/web", "alice"),
            tracker("b", "deployment/web/container/api", "bob"),
            tracker("c", "deployment/db\u{1b}", "dave"),
            tracker("d", "targetless", "erin"),
            tracker("e", "unresolved", "erin"),
            tracker("f", "deployment/own", "alice"),
        ];
        let warning_on = |names: &[&str], user: &str| {
            let requester = Requester { username: user.into(), ..Requester::default() };
            warning(trackers.iter(), names, &requester)
        };
        for (user, target, warned_of) in [
            ("alice", "deployment/web", Some("deployment/web")),
            ("alice", "deployment/web/container/x", Some("deployment/web")),
            ("carol", "deployment/web", Some("deployment/web")),
            ("alice", "deployment/db\u{1b}", Some("deployment/db\\x1b")),
            ("alice", "deployment/own", None),
            ("alice", "deployment/webs", None),
            ("alice", "targetless", None),
            ("alice", "unresolved", None),
            ("alice", "", None),
        ] {
            let found = warning_on(&[target], user);
            let expected = warned_of.map(|target| {
                format!(
                    "another user already has a session on {target}: kubectl mirrord-sessions list \
                     --target {target} shows the sessions that you may see"
                )
            });
            assert_eq!(found, expected, "{user} on {target}");
        }
        // Any name of the target matches, and the warning uses the first.
        let names = ["deployment/x", "pod/x-1", "deployment/web/container/c"];
        let found = warning_on(&names, "alice").unwrap();
        assert!(
            found.starts_with("another user already has a session on deployment/x:"),
            "{found}"
        );
        assert_eq!(warning_on(&[], "alice"), None);
    }
}
