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
            store.set_policies(PolicySet::new(cluster, policies), relisted);
            health.policies_synced();
        }
    }
}

/// The active policies by name, and those of a list in progress.
#[derive(Debug, Default)]
struct PolicyCache {
    active: BTreeMap<String, Policy>,
    pending_list: Option<BTreeMap<String, Policy>>,
}

impl PolicyCache {
    /// Applies an event; returns all policies if they have changed and no list is in progress.
    fn apply(&mut self, change: Change<StoredPolicy>) -> Option<Vec<Policy>> {
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
        Some(self.active.values().cloned().collect())
    }
}

/// Parses a policy; an invalid one hides sessions and never reveals any.
///
/// The log names no value of the policy, since parsers quote the text that they reject.
fn parse(item: Item<StoredPolicy>) -> (String, Policy) {
    let object = match item {
        Ok(object) => object,
        Err(identity) => {
            let name = identity.name.unwrap_or_default();
            warn!(policy = name, "unreadable policy: it hides every session from every user");
            let policy = Policy::deny_all(&name);
            return (name, policy);
        }
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    // serde also deserializes a struct from a list.
    let spec = Some(&object.spec).filter(|spec| spec.is_object());
    let spec = spec.unwrap_or(&serde_json::Value::Null);
    let policy = match SessionPolicySpec::deserialize(spec) {
        Ok(spec) => {
            let (policy, errors) = Policy::from_spec(&name, &spec);
            if !errors.is_empty() {
                warn!(
                    policy = name,
                    invalid_rules = errors.len(),
                    "invalid rules: the policy hides every session it may apply to"
                );
            }
            policy
        }
        Err(_) => {
            warn!(policy = name, "invalid policy: it hides every session from every user");
            Policy::deny_all(&name)
        }
    };
    (name, policy)
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

    fn names(policies: Option<Vec<Policy>>) -> Option<String> {
        let names = |policies: Vec<Policy>| {
            let names: Vec<&str> = policies.iter().map(Policy::name).collect();
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
            hides_everything(policy, &spec.to_string());
        }
        let (name, policy) = parse(Err(identity("p")));
        assert_eq!(name, "p");
        hides_everything(policy, "unreadable");
    }

    fn hides_everything(policy: Policy, case: &str) {
        let set = PolicySet::new("", [policy]);
        for verb in Verb::ALL {
            let visibility = set.visibility(&Requester::default(), verb);
            assert!(matches!(visibility, Visibility::Nothing(_)), "{case} {verb}");
        }
    }
}
