//! Verification of the owner that an agent's stamp names.

use mirrord_sessions_crds::Owner;

use super::{Agent, AgentKind, Prerequisites, prerequisites::is_created_under_guard};
use crate::{agents::Stamp, guard::GuardState};

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
/// A stamp is trusted only on an agent that was created after the last change of the guard policy,
/// while the policy is as shipped. Otherwise, any client could have written a false stamp.
#[must_use]
pub fn verify_owner(agent: &Agent, prerequisites: &Prerequisites) -> OwnerVerdict {
    let stamp = match &agent.stamp {
        Stamp::Requester(owner) => owner,
        Stamp::Missing => {
            return OwnerVerdict::Unverified("the agent carries no stamp of its requester");
        }
        Stamp::Invalid => {
            return OwnerVerdict::Unverified(
                "the stamp of the agent is not one that the cluster writes",
            );
        }
    };
    let (guard, created_at) = match agent.id.kind {
        AgentKind::Job => (&prerequisites.job_guard, agent.created_at),
        // The Pod may be older than the agent in it, so prefer the time of the watch event.
        AgentKind::Pod => (&prerequisites.ephemeral_guard, agent.added_at.or(agent.created_at)),
    };
    let guarded_since = match guard {
        GuardState::InForceSince(since) => *since,
        GuardState::Missing => {
            return OwnerVerdict::Unverified(
                "no guard policy is in force, so the stamp of the agent may be forged",
            );
        }
        GuardState::Altered => {
            return OwnerVerdict::Unverified(
                "the guard policy or its binding differs from the shipped one, so the stamp of the agent may be forged",
            );
        }
    };
    if created_at.is_some_and(|created_at| is_created_under_guard(guarded_since, created_at)) {
        return OwnerVerdict::Verified(stamp.clone());
    }
    OwnerVerdict::Unverified(match agent.id.kind {
        AgentKind::Job => {
            "the agent is older than the last change of the guard policy, so its stamp may be forged"
        }
        AgentKind::Pod => {
            "the Pod is older than the last change of the guard policy and the start of the agent was not observed, so its stamp may be forged"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{agent, ephemeral, time};

    #[test]
    fn verifies_stamps_against_guard() {
        let with_guards = |state: GuardState| Prerequisites {
            job_guard: state.clone(),
            ephemeral_guard: state,
            crd: None,
        };
        let guarded = |second| with_guards(GuardState::InForceSince(time(second)));
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
            ("altered guard", agent(), with_guards(GuardState::Altered), Some("differs from")),
            ("no stamp", unstamped, guarded(90), Some("carries no stamp")),
            ("invalid stamp", invalid, guarded(90), Some("is not one")),
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
