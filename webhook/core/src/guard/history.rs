//! The age of guard policies, counted from the last change of their specs.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{ObjectVersion, check_guard};

/// The state of a guard policy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum GuardState {
    /// Policy and binding equal the shipped ones, and have not changed since this time.
    InForceSince(Timestamp),
    /// The policy or its binding does not exist or is being deleted.
    #[default]
    Missing,
    /// The policy or its binding differs from the shipped one.
    Altered,
}

/// The times at which this process first observed the specs of guard policies.
///
/// An object whose spec was never changed is as old as its creation time. The last change of any
/// other spec has no trustworthy time in the object, and was no later than the first observation of
/// its generation.
#[derive(Debug, Default)]
pub struct GuardHistory {
    /// The latest observed generation of each object and the time of its first observation.
    observed: HashMap<String, (ObjectVersion, Timestamp)>,
}

impl GuardHistory {
    /// Records an observation of a policy and its binding, and returns the state of the guard.
    ///
    /// `read_at` is a time after the read, by the clock of the API server.
    pub fn observe(
        &mut self,
        name: &str,
        policy: Option<&Value>,
        binding: Option<&Value>,
        read_at: Timestamp,
    ) -> GuardState {
        let policy_since = self.unchanged_since(&format!("policy/{name}"), policy, read_at);
        let binding_since = self.unchanged_since(&format!("binding/{name}"), binding, read_at);
        if policy.is_none() || binding.is_none() {
            return GuardState::Missing;
        }
        match (check_guard(name, policy, binding), policy_since, binding_since) {
            (Ok(()), Some(policy), Some(binding)) => GuardState::InForceSince(policy.max(binding)),
            (Err(super::GuardFault::Deleting), ..) => GuardState::Missing,
            _ => GuardState::Altered,
        }
    }

    /// Returns the time since which the spec of an object is known to be unchanged.
    fn unchanged_since(
        &mut self,
        key: &str,
        object: Option<&Value>,
        read_at: Timestamp,
    ) -> Option<Timestamp> {
        let Some(version) = object.and_then(ObjectVersion::from_object) else {
            self.observed.remove(key);
            return None;
        };
        if let Some(created_at) = version.unchanged_since() {
            return Some(created_at);
        }
        match self.observed.get(key) {
            Some((observed, since)) if *observed == version => Some(*since),
            _ => {
                self.observed.insert(key.to_owned(), (version, read_at));
                Some(read_at)
            }
        }
    }
}
