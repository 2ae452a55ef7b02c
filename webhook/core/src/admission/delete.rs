//! Who may delete a Session: who sees it, and whom no policy forbids it. RBAC has allowed it
//! already.
//!
//! The answer to a delete that is only tried holds the whole Session, key and filters too, as does
//! that of a delete of many. So what somebody doesn't see, they can't try to delete either.

use mirrord_sessions_crds::{GROUP, SESSIONS};

use super::Decision;
use crate::{
    identity::Requester,
    policy::{JoinRights, PolicySet, Verb},
    sessions::Tracker,
    text::printable,
};

/// A delete that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Deletion<'a> {
    /// The Session.
    pub tracker: &'a Tracker,
    /// Who asks.
    pub requester: &'a Requester,
    /// Whether it is only tried.
    pub dry_run: bool,
    /// Whether it is one of many, none of which was named.
    pub one_of_many: bool,
}

impl Deletion<'_> {
    /// Whether the answer would show the requester what they only see if they may join.
    #[must_use]
    pub fn shows_secrets(&self, policies: &PolicySet) -> bool {
        self.dry_run
            && self.tracker.has_secrets()
            && !policies.viewer(self.requester, JoinRights::Nowhere).reveals(&self.tracker.view())
    }

    /// Decides by the policies, once they are known. `may_join` is what RBAC says of the Session's
    /// namespace, which only matters where secrets would be shown.
    #[must_use]
    pub fn decide(&self, policies: Option<&PolicySet>, may_join: bool) -> Decision {
        if self.requester.is_controller() {
            return Decision::allow();
        }
        let Some(policies) = policies else {
            return Decision::deny(
                503,
                "ServiceUnavailable",
                "the SessionPolicies, which say who may delete a Session, aren't read yet: try again",
            );
        };
        let joins = if may_join { JoinRights::Everywhere } else { JoinRights::Nowhere };
        let viewer = policies.viewer(self.requester, joins);
        let view = self.tracker.view();
        let name = &self.tracker.key.name;
        let username = printable(&self.requester.username, 253);
        // A deletion of many answers all of them: a list.
        let hidden =
            !viewer.may(Verb::Read, &view) || (self.one_of_many && !viewer.may(Verb::List, &view));
        if hidden {
            // Nothing of it is told, not even that a policy decides. Of many the API server takes a
            // 404 for one that is gone already, goes on, and answers them all, this one too.
            if self.one_of_many {
                return Decision::forbidden(format!(
                    "{SESSIONS} is forbidden: User \"{username}\" cannot delete all of them here: delete them by name"
                ));
            }
            return Decision::not_found(GROUP, "sessions", name);
        }
        let forbidden = |why: &str| {
            Decision::forbidden(printable(
                &format!(
                    "{SESSIONS} {name:?} is forbidden: User \"{username}\" cannot delete it: {why}"
                ),
                1024,
            ))
        };
        if let Some(cause) = viewer.why_not(Verb::Delete, &view) {
            return forbidden(&format!("denied {cause}"));
        }
        if self.dry_run && self.tracker.has_secrets() && !viewer.reveals(&view) {
            return forbidden(
                "the answer to a dry run holds its key and filters, which only those see who may join it",
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
    fn requester_policy_and_session() {
        let forbidden = "denied by p spec.deny.rules[0]";
        for (name, policy, namespace, who, refused) in [
            ("no policy", "{}", "shop", "bob", None),
            ("only one's own", OWN_ONLY, "shop", "alice", None),
            ("only one's own", OWN_ONLY, "shop", "bob", Some((403, forbidden))),
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
            ("not listed and yet read", NOT_LISTED, "shop", "bob", None),
        ] {
            for dry_run in [false, true] {
                let tracker =
                    session(namespace, "s").owned_by("alice").joined(["carol"]).tracker(1);
                let requester = requester(who);
                let deletion = Deletion {
                    tracker: &tracker,
                    requester: &requester,
                    dry_run,
                    one_of_many: false,
                };
                match (deletion.decide(Some(&policies(policy)), false).outcome, refused) {
                    (Outcome::Allow(changes), None) => assert!(changes.is_empty()),
                    (Outcome::Deny(denial), Some((code, text))) => {
                        assert_eq!(denial.code, code, "{name}: {who}");
                        assert!(denial.message.contains(text), "{name}: {}", denial.message);
                        let leaks = code == 404 && denial.message.contains("spec.");
                        assert!(!leaks, "{name}: {}", denial.message);
                    }
                    (outcome, _) => panic!("{name}: {who}: {outcome:?}"),
                }
            }
        }
    }

    #[test]
    fn without_policies_nothing_is_decided() {
        let tracker = session("shop", "s").owned_by("alice").tracker(1);
        for (who, code) in [("alice", Some(503)), (CONTROLLER_USERNAME, None)] {
            let requester = requester(who);
            let deletion = Deletion {
                tracker: &tracker,
                requester: &requester,
                dry_run: false,
                one_of_many: false,
            };
            let refused = match deletion.decide(None, true).outcome {
                Outcome::Allow(_) => None,
                Outcome::Deny(denial) => Some(denial.code),
            };
            assert_eq!(refused, code, "{who}");
        }
    }

    #[test]
    fn one_of_many_is_never_said_to_be_gone() {
        let tracker = session("shop", "hidden").owned_by("alice").tracker(1);
        let requester = requester("bob");
        let deletion =
            Deletion { tracker: &tracker, requester: &requester, dry_run: true, one_of_many: true };
        for policy in [HIDDEN, NOTHING, NOT_LISTED] {
            let Outcome::Deny(denial) = deletion.decide(Some(&policies(policy)), true).outcome
            else {
                panic!("let through");
            };
            assert_eq!((denial.code, denial.reason), (403, "Forbidden"));
            let tells =
                ["hidden", "alice", "spec.deny"].iter().any(|it| denial.message.contains(it));
            assert!(!tells, "{}", denial.message);
        }
    }

    #[test]
    fn trying_is_for_those_who_see_the_key() {
        let with_key = session("shop", "s").owned_by("alice").key("s3cret").tracker(1);
        let without = session("shop", "s").owned_by("alice").tracker(1);
        for (name, tracker, who, may_join, dry_run, asks, allowed) in [
            ("the owner", &with_key, "alice", false, true, false, true),
            ("another", &with_key, "bob", false, true, true, false),
            ("who may join", &with_key, "bob", true, true, true, true),
            ("no key", &without, "bob", false, true, false, true),
            ("for good", &with_key, "bob", false, false, false, true),
        ] {
            let requester = requester(who);
            let deletion = Deletion { tracker, requester: &requester, dry_run, one_of_many: false };
            let policies = PolicySet::default();
            assert_eq!(deletion.shows_secrets(&policies), asks, "{name}");
            let decided = deletion.decide(Some(&policies), may_join).outcome;
            assert_eq!(matches!(decided, Outcome::Allow(_)), allowed, "{name}");
            assert!(!format!("{decided:?}").contains("s3cret"), "{name}");
        }
    }
}
