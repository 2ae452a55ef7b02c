//! Policies and requesters for tests.

use super::{Policy, PolicySet};
use crate::identity::Requester;

/// One policy of this spec, named p.
pub(crate) fn policies(yaml: &str) -> PolicySet {
    let spec = serde_saphyr::from_str(yaml).unwrap();
    let (policy, errors) = Policy::read("p", &spec);
    assert_eq!(errors, [], "{yaml}");
    PolicySet::new("west", [policy])
}

/// A user by name.
pub(crate) fn requester(name: &str) -> Requester {
    Requester { username: name.into(), ..Requester::default() }
}
