//! Policies and requesters for tests.

use super::{Policy, PolicySet};
use crate::identity::Requester;

/// Returns a set of one policy with this spec and the name `p`.
pub(crate) fn policies(yaml: &str) -> PolicySet {
    let spec = serde_saphyr::from_str(yaml).unwrap();
    let (policy, errors) = Policy::from_spec("p", &spec);
    assert_eq!(errors, [], "{yaml}");
    PolicySet::new("west", [policy])
}

/// Returns a requester of this name.
pub(crate) fn requester(name: &str) -> Requester {
    Requester { username: name.into(), ..Requester::default() }
}
