//! The names that the Session of an agent can have.

use super::{Agent, AgentId};

/// The number of candidate names for the Session of an agent.
///
/// Other clients may have taken some of the names, but only by creating a Session before the
/// controller does.
pub const NAME_CANDIDATES: u32 = 8;

/// Returns the n-th candidate name for the Session of an agent, 16 hexadecimal digits.
///
/// The names of an agent never change. A restarted controller or a second leader therefore creates
/// no second Session.
#[must_use]
pub fn session_name(agent: &AgentId, n: u32) -> String {
    // FNV-1a, with a finalizer that spreads the last bytes. The names have to be stable and
    // distinct but not secret.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = agent.uid.bytes().chain(agent.container.bytes());
    for byte in bytes.chain(n.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", hash ^ (hash >> 31))
}

/// Returns all names that the Session of an agent can have, including a claimed one.
#[must_use]
pub fn session_names(agent: &Agent) -> Vec<String> {
    let candidates = (0..NAME_CANDIDATES).map(|n| session_name(&agent.id, n));
    candidates.chain(agent.client_info.session_name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_stable_and_distinct() {
        let agent = |uid: &str| format!("Job/a/b/{uid}").parse::<AgentId>().unwrap();
        let id = agent("2e7cd1c0-77bd-402c-8934-dc270bd9fad5");
        // A release with other names would create a second Session for each running agent.
        assert_eq!(session_name(&id, 0), session_name(&id, 0));
        assert_eq!(session_name(&id, 0), "152f267619763952");
        let names: BTreeSet<String> = (0..2000)
            .flat_map(|i| (0..NAME_CANDIDATES).map(move |n| (i, n)))
            .map(|(i, n)| session_name(&agent(&format!("2e7cd1c0-77bd-402c-8934-{i:012x}")), n))
            .collect();
        assert_eq!(names.len(), 2000 * NAME_CANDIDATES as usize);
        assert!(names.iter().all(|name| name.len() == 16));
    }
}
