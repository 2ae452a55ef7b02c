//! Watch of all SessionPolicies. Each change activates a new policy set.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use mirrord_sessions_core::policy::{Policy, PolicySet};
use mirrord_sessions_crds::SessionPolicySpec;
use serde::Deserialize;
use tracing::{info, warn};

use crate::{
    list_watch::{self, Backoff, Change, Item, ListWatch},
    server::health::Health,
    sessions::Store,
    stored_objects::StoredPolicy,
};

/// The maximum size of the spec of a policy as JSON in bytes.
const MAX_POLICY: usize = 64 << 10;
/// The maximum size of the specs of all policies as JSON in bytes.
pub(crate) const POLICIES_BUDGET: usize = 512 << 10;
const INITIAL_BACKOFF: Duration = Duration::from_millis(800);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Keeps the active policies in sync with the cluster's SessionPolicies. Never returns.
///
/// No policies are active before the first list. While the API server is unavailable, the last
/// known policies stay active.
pub(crate) async fn run(client: Client, cluster: &str, store: Arc<Store>, health: &Health) {
    let policies: ListWatch<StoredPolicy> = ListWatch::all(client);
    let mut changes = policies.spawn(Backoff::new(INITIAL_BACKOFF, MAX_BACKOFF));
    let mut cache = PolicyCache::default();
    loop {
        let change = changes.next().await;
        let relisted = matches!(change, Change::ListCompleted);
        if let Some(policies) = cache.apply(change) {
            info!(count = policies.len(), "activated session policies");
            store.set_policies(PolicySet::from_shared(cluster, policies), relisted);
            health.policies_synced();
        }
    }
}

/// The active policies by name, and those of a list in progress.
#[derive(Debug, Default)]
struct PolicyCache {
    active: BTreeMap<String, StoredSize>,
    pending_list: Option<BTreeMap<String, StoredSize>>,
}

/// A policy and the size of its spec as JSON in bytes.
#[derive(Clone, Debug, PartialEq)]
struct StoredSize {
    policy: Arc<Policy>,
    size: usize,
}

impl PolicyCache {
    /// Applies an event; returns all policies if they have changed and no list is in progress.
    fn apply(&mut self, change: Change<StoredPolicy>) -> Option<Vec<Arc<Policy>>> {
        match change {
            Change::ListStarted => {
                self.pending_list = Some(BTreeMap::new());
                return None;
            }
            Change::Listed(item) => {
                let (name, policy) = parse(item);
                self.pending_list.get_or_insert_default().insert(name, policy);
                return None;
            }
            Change::ListCompleted => self.active = self.pending_list.take().unwrap_or_default(),
            Change::Applied(item) => {
                let (name, policy) = parse(item);
                // Ignore changes of metadata.
                if self.active.get(&name) == Some(&policy) {
                    return None;
                }
                self.active.insert(name, policy);
            }
            Change::Deleted(identity) => {
                self.active.remove(&identity.name.unwrap_or_default());
            }
            Change::Failed(list_watch::Error::Expired) => return None,
            Change::Failed(error) => {
                warn!(%error, "failed to watch session policies");
                return None;
            }
        }
        Some(self.within_budget())
    }
}

impl PolicyCache {
    /// Returns all policies. One that exceeds the budget hides every session from every user.
    fn within_budget(&self) -> Vec<Arc<Policy>> {
        let mut total = 0;
        let policies = self.active.iter().map(|(name, StoredSize { policy, size })| {
            total += size;
            if *size <= MAX_POLICY && total <= POLICIES_BUDGET {
                return Arc::clone(policy);
            }
            warn!(policy = name, "policies are too large: this one hides every session");
            Arc::new(Policy::deny_all(name))
        });
        policies.collect()
    }
}

/// Parses a policy; an invalid one hides sessions and never reveals any.
///
/// The log names no value of the policy, since parsers quote the text that they reject.
fn parse(item: Item<StoredPolicy>) -> (String, StoredSize) {
    let object = match item {
        Ok(object) => object,
        Err(identity) => {
            let name = identity.name.unwrap_or_default();
            warn!(policy = name, "unreadable policy: it hides every session from every user");
            let policy = Arc::new(Policy::deny_all(&name));
            return (name, StoredSize { policy, size: 0 });
        }
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    // serde also deserializes a struct from a list.
    let spec = Some(&object.spec).filter(|spec| spec.is_object());
    let spec = spec.unwrap_or(&serde_json::Value::Null);
    let size = spec.to_string().len();
    let policy = if let Ok(spec) = SessionPolicySpec::deserialize(spec) {
        let (policy, errors) = Policy::from_spec(&name, &spec);
        if !errors.is_empty() {
            warn!(
                policy = name,
                invalid_rules = errors.len(),
                "invalid rules: the policy hides every session it may apply to"
            );
        }
        policy
    } else {
        warn!(policy = name, "invalid policy: it hides every session from every user");
        Policy::deny_all(&name)
    };
    (name, StoredSize { policy: Arc::new(policy), size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list_watch::ObjectIdentity;
    use mirrord_sessions_core::{
        identity::Requester,
        policy::{Verb, Visibility},
    };
    use serde_json::{Value, json};

    fn policy(name: &str, spec: &Value) -> StoredPolicy {
        serde_json::from_value(json!({
            "apiVersion": "operator.metalbear.co/v1alpha1",
            "kind": "SessionPolicy",
            "metadata": { "name": name },
            "spec": spec,
        }))
        .unwrap()
    }

    fn identity(name: &str) -> ObjectIdentity {
        ObjectIdentity { name: Some(name.into()), ..ObjectIdentity::default() }
    }

    fn names(policies: Option<Vec<Arc<Policy>>>) -> Option<String> {
        let names = |policies: Vec<Arc<Policy>>| {
            let names: Vec<&str> = policies.iter().map(|policy| policy.name()).collect();
            names.join(" ")
        };
        policies.map(names)
    }

    #[test]
    fn activates_each_complete_policy_set() {
        let mut cache = PolicyCache::default();
        let none = json!({});
        let some = json!({ "deny": { "rules": [{ "resources": ["*"], "verbs": ["list"] }] } });
        for (event, expected) in [
            (Change::ListStarted, None),
            (Change::Listed(Ok(policy("a", &none))), None),
            (Change::Listed(Ok(policy("b", &none))), None),
            (Change::ListCompleted, Some("a b")),
            (Change::Applied(Ok(policy("a", &none))), None),
            (Change::Applied(Ok(policy("a", &some))), Some("a b")),
            (Change::Applied(Ok(policy("c", &some))), Some("a b c")),
            (Change::Deleted(identity("a")), Some("b c")),
            // The previous policies stay active until the new list is complete.
            (Change::ListStarted, None),
            (Change::Listed(Ok(policy("d", &none))), None),
            (Change::ListCompleted, Some("d")),
        ] {
            let description = format!("{event:?}");
            assert_eq!(names(cache.apply(event)).as_deref(), expected, "{description}");
        }
    }

    #[test]
    fn invalid_policy_hides_every_session() {
        for spec in [
            Value::Null,
            json!([]),
            json!({ "deney": {} }),
            json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["*"], "were": "false" }] } }),
            json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["*"], "where": "(" }] } }),
        ] {
            let (_, policy) = parse(Ok(policy("p", &spec)));
            assert_hides_everything(policy.policy, &spec.to_string());
        }
        let (name, policy) = parse(Err(identity("p")));
        assert_eq!(name, "p");
        assert_hides_everything(policy.policy, "unreadable");
    }

    #[test]
    fn policies_over_budget_hide_every_session() {
        let large = |name: &str, size: usize| {
            let rules =
                [json!({ "resources": ["*"], "verbs": ["list"], "where": "x".repeat(size) })];
            Change::Applied(Ok(policy(name, &json!({ "allow": { "rules": rules } }))))
        };
        let mut cache = PolicyCache::default();
        cache.apply(Change::Applied(Ok(policy("a", &json!({})))));
        let policies = cache.apply(large("b", MAX_POLICY)).unwrap();
        assert_eq!(*policies[0], parse(Ok(policy("a", &json!({})))).1.policy.as_ref().clone());
        assert_eq!(*policies[1], Policy::deny_all("b"));
        let count = POLICIES_BUDGET / MAX_POLICY + 2;
        for n in 0..count {
            cache.apply(large(&format!("c{n:03}"), MAX_POLICY - 100));
        }
        let policies = cache.within_budget();
        let denied = policies.iter().filter(|policy| ***policy == Policy::deny_all(policy.name()));
        assert!(denied.count() >= 2);
    }

    fn assert_hides_everything(policy: Arc<Policy>, case: &str) {
        let set = PolicySet::from_shared("", [policy]);
        for verb in Verb::ALL {
            let visibility = set.visibility(&Requester::default(), verb);
            assert!(matches!(visibility, Visibility::Nothing(_)), "{case} {verb}");
        }
    }
}
