//! Watch of all SessionPolicies. Each change activates a new policy set.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use mirrord_sessions_core::{
    policy::{Policy, PolicySet},
    text::printable,
};
use mirrord_sessions_crds::SessionPolicySpec;
use serde::Deserialize;
use tracing::{info, warn};

use crate::{server::health::Health, sessions::Store, stored_objects::StoredPolicy};

/// Keeps the active policies in sync with the cluster's SessionPolicies. Never returns.
///
/// No policies are active before the first list. While the API server is unavailable, the last
/// known policies stay active.
pub(crate) async fn run(client: Client, cluster: &str, store: Arc<Store>, health: &Health) {
    let policies: Api<StoredPolicy> = Api::all(client);
    let mut events = watcher(policies, watcher::Config::default()).default_backoff().boxed();
    let mut cache = PolicyCache::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let relisted = matches!(event, watcher::Event::InitDone);
                if let Some(policies) = cache.apply(event) {
                    info!(count = policies.len(), "activated session policies");
                    store.set_policies(PolicySet::new(cluster, policies), relisted);
                    health.policies_synced();
                }
            }
            Err(error) => {
                let error = printable(&error.to_string(), 300);
                warn!(error, "failed to watch session policies");
            }
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
    fn apply(&mut self, event: watcher::Event<StoredPolicy>) -> Option<Vec<Policy>> {
        match event {
            watcher::Event::Init => {
                self.pending_list = Some(BTreeMap::new());
                return None;
            }
            watcher::Event::InitApply(object) => {
                let (name, policy) = parse(&object);
                self.pending_list.get_or_insert_default().insert(name, policy);
                return None;
            }
            watcher::Event::InitDone => self.active = self.pending_list.take().unwrap_or_default(),
            watcher::Event::Apply(object) => {
                let (name, policy) = parse(&object);
                // Ignore changes of metadata.
                if self.active.get(&name) == Some(&policy) {
                    return None;
                }
                self.active.insert(name, policy);
            }
            watcher::Event::Delete(object) => {
                self.active.remove(&object.metadata.name.unwrap_or_default());
            }
        }
        Some(self.active.values().cloned().collect())
    }
}

/// Parses a policy; an invalid one hides sessions and never reveals any.
fn parse(object: &StoredPolicy) -> (String, Policy) {
    let name = object.metadata.name.clone().unwrap_or_default();
    // serde also deserializes a struct from a list.
    let spec = Some(&object.spec).filter(|spec| spec.is_object());
    let spec = spec.unwrap_or(&serde_json::Value::Null);
    let policy = match SessionPolicySpec::deserialize(spec) {
        Ok(spec) => {
            let (policy, errors) = Policy::from_spec(&name, &spec);
            for error in errors {
                warn!(policy = name, %error, "invalid rule: the policy hides every session it may apply to");
            }
            policy
        }
        Err(error) => {
            let error = printable(&error.to_string(), 300);
            warn!(policy = name, error, "invalid policy: it hides every session from every user");
            Policy::deny_all(&name)
        }
    };
    (name, policy)
}

#[cfg(test)]
mod tests {
    use mirrord_sessions_core::{
        identity::Requester,
        policy::{Verb, Visibility},
    };
    use serde_json::{Value, json};
    use watcher::Event;

    use super::*;

    fn policy(name: &str, spec: &Value) -> StoredPolicy {
        serde_json::from_value(json!({
            "apiVersion": "operator.metalbear.co/v1alpha1",
            "kind": "SessionPolicy",
            "metadata": { "name": name },
            "spec": spec,
        }))
        .unwrap()
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
            (Event::Init, None),
            (Event::InitApply(policy("a", &none)), None),
            (Event::InitApply(policy("b", &none)), None),
            (Event::InitDone, Some("a b")),
            (Event::Apply(policy("a", &none)), None),
            (Event::Apply(policy("a", &some)), Some("a b")),
            (Event::Apply(policy("c", &some)), Some("a b c")),
            (Event::Delete(policy("a", &none)), Some("b c")),
            // The previous policies stay active until the new list is complete.
            (Event::Init, None),
            (Event::InitApply(policy("d", &none)), None),
            (Event::InitDone, Some("d")),
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
            let (_, policy) = parse(&policy("p", &spec));
            let set = PolicySet::new("", [policy]);
            for verb in Verb::ALL {
                let visibility = set.visibility(&Requester::default(), verb);
                assert!(matches!(visibility, Visibility::Nothing(_)), "{spec} {verb}");
            }
        }
    }
}
