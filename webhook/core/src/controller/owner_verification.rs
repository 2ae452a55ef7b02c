//! Verification of the owner that an agent's stamp names.

use mirrord_sessions_crds::Owner;

use super::{Agent, AgentKind, Prerequisites, prerequisites::is_created_under_guard};
use crate::agents::Stamp;

/// The owner of an agent, or the reason why it is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnerVerdict {
    /// The stamp names this owner, and the guard policy was in force when it was written.
    Verified(Owner),
    /// The owner is unknown for this reason.
    Unverified(&'static str),
}

/// Verifies the stamp of an agent.
///
/// A stamp is trusted only on an agent that was created after the guard policy. Before that, any
/// client could write a false stamp.
#[must_use]
pub fn verify_owner(agent: &Agent, prerequisites: &Prerequisites) -> OwnerVerdict {
    let stamp = match &agent.stamp {
        Stamp::Requester(owner) => owner,
        Stamp::Missing => {
            return OwnerVerdict::Unverified(
                "the agent has no stamp, so the webhook was not called when it started",
            );
        }
        Stamp::Invalid => {
            return OwnerVerdict::Unverified("the webhook did not write the stamp of the agent");
        }
    };
    let (guarded_since, created_at) = match agent.id.kind {
        AgentKind::Job => (prerequisites.jobs_guarded_since, agent.created_at),
        // The Pod may be older than the agent in it, so prefer the time of the watch event.
        AgentKind::Pod => {
            (prerequisites.ephemeral_guarded_since, agent.added_at.or(agent.created_at))
        }
    };
    let Some(guarded_since) = guarded_since else {
        return OwnerVerdict::Unverified(
            "no guard policy is in force, so the stamp of the agent may be forged",
        );
    };
    if created_at.is_some_and(|created_at| is_created_under_guard(guarded_since, created_at)) {
        return OwnerVerdict::Verified(stamp.clone());
    }
    OwnerVerdict::Unverified(match agent.id.kind {
        AgentKind::Job => "the agent is older than the guard policy, so its stamp may be forged",
        AgentKind::Pod => {
            "the Pod is older than the guard policy and the start of the agent was not observed, so its stamp may be forged"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{agent, ephemeral, time};

    #[test]
    fn verifies_stamps_against_guard() {
        let guarded = |second| Prerequisites {
            jobs_guarded_since: Some(time(second)),
            ephemeral_guarded_since: Some(time(second)),
            crd: None,
        };
        let unstamped = Agent { stamp: Stamp::Missing, ..agent() };
        let invalid = Agent { stamp: Stamp::Invalid, ..agent() };
        let added = |second| Agent { added_at: Some(time(second)), ..ephemeral() };
        // Agents are created at 100 s.
        let cases = [
            ("created under the guard", agent(), guarded(90), None),
            ("created at the same time", agent(), guarded(100), Some("older")),
            ("created before the guard propagated", agent(), guarded(96), Some("older")),
            ("created before the guard", agent(), guarded(200), Some("older")),
            ("no guard", agent(), Prerequisites::default(), Some("no guard policy")),
            ("no stamp", unstamped, guarded(90), Some("no stamp")),
            ("invalid stamp", invalid, guarded(90), Some("did not write")),
            ("ephemeral, Pod younger than the guard", ephemeral(), guarded(90), None),
            (
                "ephemeral, Pod older than the guard",
                ephemeral(),
                guarded(150),
                Some("was not observed"),
            ),
            ("ephemeral, observed under the guard", added(170), guarded(150), None),
            (
                "ephemeral, observed before the guard",
                added(140),
                guarded(150),
                Some("was not observed"),
            ),
        ];
        for (name, agent, prerequisites, reason) in cases {
            match (verify_owner(&agent, &prerequisites), reason) {
                (OwnerVerdict::Verified(owner), None) => assert_eq!(owner.username, "alice"),
                (OwnerVerdict::Unverified(found), Some(reason)) => {
                    assert!(found.contains(reason), "{name}: {found}");
                }
                (verdict, _) => panic!("{name}: {verdict:?}"),
            }
        }
    }
}
