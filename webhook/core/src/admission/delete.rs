//! Decides the deletion of Sessions, which RBAC has allowed already.
//!
//! A requester may delete a Session that policies let them read, unless a policy denies the
//! deletion. The API server returns the full object, key and filters included, for dry-run deletes
//! and for each item of a delete-collection. Such a deletion is therefore a read, and the requester
//! needs the right to see key and filters.

use mirrord_sessions_crds::{GROUP, SESSIONS};

use super::Decision;
use crate::{
    identity::Requester,
    policy::{JoinRights, PolicySet, Verb},
    sessions::Tracker,
    text::printable,
};

/// The requested deletion of a Session.
#[derive(Clone, Copy, Debug)]
pub struct Deletion<'a> {
    /// The tracker of the Session.
    pub tracker: &'a Tracker,
    /// The requester of the deletion.
    pub requester: &'a Requester,
    /// Set for a dry run.
    pub dry_run: bool,
    /// Set for an item of a delete-collection, whose request names no object.
    pub in_collection: bool,
}

impl Deletion<'_> {
    /// Decides by the policies, and denies until they are loaded.
    ///
    /// `may_join` is the decision of RBAC in the Session's namespace. It matters only for a dry run
    /// of a Session with secrets.
    #[must_use]
    pub fn decide(&self, policies: Option<&PolicySet>, may_join: bool) -> Decision {
        if self.requester.is_controller() {
            return Decision::allow();
        }
        let Some(policies) = policies else {
            return Decision::deny(
                503,
                "ServiceUnavailable",
                "the SessionPolicies, which decide who may delete a Session, are not loaded yet: try again",
            );
        };
        let joins = if may_join { JoinRights::Everywhere } else { JoinRights::Nowhere };
        let viewer = policies.viewer(self.requester, joins);
        let view = self.tracker.view();
        let name = &self.tracker.key.name;
        let username = printable(&self.requester.username, 253);
        // A delete-collection returns all of its items, like a list.
        let hidden = !viewer.may(Verb::Read, &view)
            || (self.in_collection && !viewer.may(Verb::List, &view));
        if hidden {
            // The response reveals nothing, not even that a policy decided. In a collection, the
            // API server would take a 404 for an object deleted meanwhile, and would return that
            // object with the others.
            if self.in_collection {
                return Decision::forbidden(format!(
                    "{SESSIONS} is forbidden: User \"{username}\" cannot delete all of them here: delete them by name"
                ));
            }
            return Decision::not_found(GROUP, "sessions", name);
        }
        let forbidden = |reason: &str| {
            Decision::forbidden(printable(
                &format!(
                    "{SESSIONS} {name:?} is forbidden: User \"{username}\" cannot delete it: {reason}"
                ),
                1024,
            ))
        };
        if let Some(cause) = viewer.denial_cause(Verb::Delete, &view) {
            return forbidden(&format!("denied {cause}"));
        }
        if self.dry_run && self.tracker.has_secrets() && !viewer.reveals(&view) {
            return forbidden(
                "a dry run returns its key and filters, which only users who may join it see",
            );
        }
        Decision::allow()
    }
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_crds::CONTROLLER_USERNAME;

    use super::*;
    use crate::{
        admission::Outcome,
        policy::fixtures::{policies, requester},
        sessions::fixtures::session,
    };

    const OWN_ONLY: &str = "
        deny: {rules: [{resources: [session_tracker], verbs: [delete], where: tracker.host_user != user.metadata.name}]}
    ";
    const NEVER_IN_PROD: &str = "
        deny: {rules: [{resources: ['*'], verbs: [delete], where: tracker.namespace == 'prod'}]}
    ";
    const OWN_ALLOWED: &str = "
        allow: {rules: [{resources: ['*'], verbs: [delete], where: 'contains(tracker.participants, user.metadata.name)'}]}
    ";
    const HIDDEN: &str = "
        deny: {rules: [{resources: ['*'], verbs: [read], where: tracker.host_user != user.metadata.name}]}
    ";
    const NOTHING: &str = "deny: {rules: [{resources: ['*'], verbs: ['*']}]}";
    const NOT_LISTED: &str = "deny: {rules: [{resources: ['*'], verbs: [list]}]}";

    #[test]
    fn decides_by_requester_policy_and_session() {
        let forbidden = "denied by p spec.deny.rules[0]";
        for (name, policy, namespace, username, denied) in [
            ("no policy", "{}", "shop", "bob", None),
            ("own sessions only", OWN_ONLY, "shop", "alice", None),
            ("own sessions only", OWN_ONLY, "shop", "bob", Some((403, forbidden))),
            ("never in prod", NEVER_IN_PROD, "shop", "alice", None),
            ("never in prod", NEVER_IN_PROD, "prod", "alice", Some((403, forbidden))),
            ("allowed for participants", OWN_ALLOWED, "shop", "carol", None),
            (
                "allowed for participants",
                OWN_ALLOWED,
                "shop",
                "bob",
                Some((403, "because no allow rule matches")),
            ),
            ("hidden", HIDDEN, "shop", "alice", None),
            ("hidden", HIDDEN, "shop", "bob", Some((404, "\"s\" not found"))),
            ("everything denied", NOTHING, "shop", "alice", Some((404, "\"s\" not found"))),
            ("everything denied", NOTHING, "shop", CONTROLLER_USERNAME, None),
            ("list denied, read allowed", NOT_LISTED, "shop", "bob", None),
        ] {
            for dry_run in [false, true] {
                let tracker =
                    session(namespace, "s").owned_by("alice").joined(["carol"]).tracker(1);
                let requester = requester(username);
                let deletion = Deletion {
                    tracker: &tracker,
                    requester: &requester,
                    dry_run,
                    in_collection: false,
                };
                match (deletion.decide(Some(&policies(policy)), false).outcome, denied) {
                    (Outcome::Allow(changes), None) => assert!(changes.is_empty()),
                    (Outcome::Deny(denial), Some((code, text))) => {
                        assert_eq!(denial.code, code, "{name}: {username}");
                        assert!(denial.message.contains(text), "{name}: {}", denial.message);
                        let leaks = code == 404 && denial.message.contains("spec.");
                        assert!(!leaks, "{name}: {}", denial.message);
                    }
                    (outcome, _) => panic!("{name}: {username}: {outcome:?}"),
                }
            }
        }
    }

    #[test]
    fn denies_until_policies_are_loaded() {
        let tracker = session("shop", "s").owned_by("alice").tracker(1);
        for (username, code) in [("alice", Some(503)), (CONTROLLER_USERNAME, None)] {
            let requester = requester(username);
            let deletion = Deletion {
                tracker: &tracker,
                requester: &requester,
                dry_run: false,
                in_collection: false,
            };
            let denied = match deletion.decide(None, true).outcome {
                Outcome::Allow(_) => None,
                Outcome::Deny(denial) => Some(denial.code),
            };
            assert_eq!(denied, code, "{username}");
        }
    }

    #[test]
    fn denies_hidden_items_of_a_collection_as_forbidden() {
        let tracker = session("shop", "hidden").owned_by("alice").tracker(1);
        let requester = requester("bob");
        let deletion = Deletion {
            tracker: &tracker,
            requester: &requester,
            dry_run: true,
            in_collection: true,
        };
        for policy in [HIDDEN, NOTHING, NOT_LISTED] {
            let Outcome::Deny(denial) = deletion.decide(Some(&policies(policy)), true).outcome
            else {
                panic!("allowed");
            };
            assert_eq!((denial.code, denial.reason), (403, "Forbidden"));
            let leaks =
                ["hidden", "alice", "spec.deny"].iter().any(|text| denial.message.contains(text));
            assert!(!leaks, "{}", denial.message);
        }
    }

    #[test]
    fn requires_access_to_the_key_for_dry_runs() {
        let with_key = session("shop", "s").owned_by("alice").key("s3cret").tracker(1);
        let without = session("shop", "s").owned_by("alice").tracker(1);
        for (name, tracker, username, may_join, dry_run, allowed) in [
            ("the owner", &with_key, "alice", false, true, true),
            ("another user", &with_key, "bob", false, true, false),
            ("with the right to join", &with_key, "bob", true, true, true),
            ("no key", &without, "bob", false, true, true),
            ("no dry run", &with_key, "bob", false, false, true),
        ] {
            let requester = requester(username);
            let deletion =
                Deletion { tracker, requester: &requester, dry_run, in_collection: false };
            let policies = PolicySet::default();
            let outcome = deletion.decide(Some(&policies), may_join).outcome;
            assert_eq!(matches!(outcome, Outcome::Allow(_)), allowed, "{name}");
            assert!(!format!("{outcome:?}").contains("s3cret"), "{name}");
        }
    }
}
