//! The name of an agent's Session.

use super::{Agent, AgentId};

/// How many names an agent's Session may have. Strangers may take some; they would have to be
/// quick, each time.
pub const NAMES: u32 = 8;

/// The n-th name that the Session of an agent may have: 16 hex digits, always the same for the same
/// agent, so that neither a restart nor a second leader makes two.
#[must_use]
pub fn session_name(agent: &AgentId, n: u32) -> String {
    // FNV-1a, and a finalizer that spreads the last bytes: names need to be stable and apart, and
    // no secret.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = agent.uid.bytes().chain(agent.container.bytes());
    for byte in bytes.chain(n.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", hash ^ (hash >> 31))
}

/// All names that the Session of an agent may have; or, if it belongs to one that was created
/// before it, has.
#[must_use]
pub fn session_names(agent: &Agent) -> Vec<String> {
    let derived = (0..NAMES).map(|n| session_name(&agent.id, n));
    derived.chain(agent.words.session.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_stable_and_apart() {
        let agent = |uid: &str| format!("Job/a/b/{uid}").parse::<AgentId>().unwrap();
        let one = agent("2e7cd1c0-77bd-402c-8934-dc270bd9fad5");
        // A release that changed this would record each running agent again.
        assert_eq!(session_name(&one, 0), session_name(&one, 0));
        assert_eq!(session_name(&one, 0), "152f267619763952");
        let names: BTreeSet<String> = (0..2000)
            .flat_map(|i| (0..NAMES).map(move |n| (i, n)))
            .map(|(i, n)| session_name(&agent(&format!("2e7cd1c0-77bd-402c-8934-{i:012x}")), n))
            .collect();
        assert_eq!(names.len(), 2000 * NAMES as usize);
        assert!(names.iter().all(|name| name.len() == 16));
    }
}
