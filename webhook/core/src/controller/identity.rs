//! Whose an agent is.

use mirrord_sessions_crds::Owner;

use super::{Agent, AgentKind, Ground, prerequisites::is_younger};
use crate::agents::Stamp;

/// Whose an agent is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// This user's: admission said so, and the guard was in force.
    Verified(Owner),
    /// Nobody knows; why.
    Unverified(&'static str),
}

/// Whose the agent is. A stamp counts only on what was created after the guard: before, anybody
/// could write one.
#[must_use]
pub fn owner(agent: &Agent, ground: &Ground) -> Verdict {
    let stamp = match &agent.stamp {
        Stamp::Of(owner) => owner,
        Stamp::Missing => {
            return Verdict::Unverified(
                "it has no stamp: the webhook was not asked when it started",
            );
        }
        Stamp::Unreadable => {
            return Verdict::Unverified("its stamp is not one that the cluster writes");
        }
    };
    let (guarded, created) = match agent.id.kind {
        AgentKind::Job => (ground.jobs_guarded, agent.created),
        // A Pod may be older than the agent in it, which then counts from when it was seen to come.
        AgentKind::Pod => (ground.ephemeral_guarded, agent.added.or(agent.created)),
    };
    let Some(guarded) = guarded else {
        return Verdict::Unverified("no guard policy is in force, so that its stamp may be false");
    };
    if created.is_some_and(|created| is_younger(guarded, created)) {
        return Verdict::Verified(stamp.clone());
    }
    Verdict::Unverified(match agent.id.kind {
        AgentKind::Job => "it is older than the guard policy, so that its stamp may be false",
        AgentKind::Pod => {
            "its Pod is older than the guard policy and nobody saw it start, so that its stamp may be false"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{agent, ephemeral, time};

    #[test]
    fn verdicts() {
        let guarded = |second| Ground {
            jobs_guarded: Some(time(second)),
            ephemeral_guarded: Some(time(second)),
            definition: None,
        };
        let unstamped = Agent { stamp: Stamp::Missing, ..agent() };
        let nonsense = Agent { stamp: Stamp::Unreadable, ..agent() };
        let seen = |second| Agent { added: Some(time(second)), ..ephemeral() };
        // Agents are created at 100 s.
        let cases = [
            ("stamped under the guard", agent(), guarded(90), None),
            ("at the same time", agent(), guarded(100), Some("older")),
            ("while it settled", agent(), guarded(96), Some("older")),
            ("older", agent(), guarded(200), Some("older")),
            ("no guard", agent(), Ground::default(), Some("no guard policy")),
            ("no stamp", unstamped, guarded(90), Some("no stamp")),
            ("nonsense", nonsense, guarded(90), Some("not one that")),
            ("ephemeral, in a young Pod", ephemeral(), guarded(90), None),
            ("ephemeral, in an old Pod", ephemeral(), guarded(150), Some("nobody saw")),
            ("ephemeral, seen to come", seen(170), guarded(150), None),
            ("ephemeral, seen before", seen(140), guarded(150), Some("nobody saw")),
        ];
        for (name, agent, ground, why) in cases {
            match (owner(&agent, &ground), why) {
                (Verdict::Verified(owner), None) => assert_eq!(owner.username, "alice"),
                (Verdict::Unverified(found), Some(why)) => assert!(found.contains(why), "{name}"),
                (verdict, _) => panic!("{name}: {verdict:?}"),
            }
        }
    }
}
