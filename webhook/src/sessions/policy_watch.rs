//! The one watch on SessionPolicies. Each change makes another generation of what decides.

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

/// Keeps the policies that decide like the cluster's, for ever. Until they have been read once
/// nothing decides; where they can't be watched any more, those that were read go on.
pub(crate) async fn follow(client: Client, cluster: &str, store: Arc<Store>, health: &Health) {
    let policies: Api<StoredPolicy> = Api::all(client);
    let mut events = watcher(policies, watcher::Config::default()).default_backoff().boxed();
    let mut known = Known::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let listed = matches!(event, watcher::Event::InitDone);
                if let Some(policies) = known.take(event) {
                    info!(count = policies.len(), "read the policies");
                    store.decide_by(PolicySet::new(cluster, policies), listed);
                    health.policies_synced();
                }
            }
            Err(error) => {
                let error = printable(&error.to_string(), 300);
                warn!(error, "policies can't be watched");
            }
        }
    }
}

/// The policies by name; while they are listed anew, beside those that still decide.
#[derive(Debug, Default)]
struct Known {
    current: BTreeMap<String, Policy>,
    listed: Option<BTreeMap<String, Policy>>,
}

impl Known {
    /// Takes an event in; all policies, if that is all there is to know for now and they have
    /// changed.
    fn take(&mut self, event: watcher::Event<StoredPolicy>) -> Option<Vec<Policy>> {
        match event {
            watcher::Event::Init => {
                self.listed = Some(BTreeMap::new());
                return None;
            }
            watcher::Event::InitApply(object) => {
                let (name, policy) = read(&object);
                self.listed.get_or_insert_default().insert(name, policy);
                return None;
            }
            watcher::Event::InitDone => self.current = self.listed.take().unwrap_or_default(),
            watcher::Event::Apply(object) => {
                let (name, policy) = read(&object);
                // A change of labels alone is none.
                if self.current.get(&name) == Some(&policy) {
                    return None;
                }
                self.current.insert(name, policy);
            }
            watcher::Event::Delete(object) => {
                self.current.remove(&object.metadata.name.unwrap_or_default());
            }
        }
        Some(self.current.values().cloned().collect())
    }
}

/// What admission would have refused narrows and never widens.
fn read(object: &StoredPolicy) -> (String, Policy) {
    let name = object.metadata.name.clone().unwrap_or_default();
    // serde would take a list for a spec too.
    let spec = Some(&object.spec).filter(|spec| spec.is_object());
    let spec = spec.unwrap_or(&serde_json::Value::Null);
    let policy = match SessionPolicySpec::deserialize(spec) {
        Ok(spec) => {
            let (policy, errors) = Policy::read(&name, &spec);
            for error in errors {
                warn!(policy = name, %error, "a policy can't be read: it hides what it might");
            }
            policy
        }
        Err(error) => {
            let error = printable(&error.to_string(), 300);
            warn!(
                policy = name,
                error, "a policy can't be read: it hides every session from everyone"
            );
            Policy::unreadable(&name)
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
    fn generations() {
        let mut known = Known::default();
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
            // Listed anew: what was there decides until the list is complete.
            (Event::Init, None),
            (Event::InitApply(policy("d", &none)), None),
            (Event::InitDone, Some("d")),
        ] {
            let shown = format!("{event:?}");
            assert_eq!(names(known.take(event)).as_deref(), expected, "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_read_narrows() {
        for spec in [
            Value::Null,
            json!([]),
            json!({ "deney": {} }),
            json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["*"], "were": "false" }] } }),
            json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["*"], "where": "(" }] } }),
        ] {
            let (_, policy) = read(&policy("p", &spec));
            let set = PolicySet::new("", [policy]);
            for verb in Verb::ALL {
                let decided = set.decide(&Requester::default(), verb);
                assert!(matches!(decided, Visibility::Nothing(_)), "{spec} {verb}");
            }
        }
    }
}
