//! Checks of the guard policies, which the API server enforces without the webhook.

use jiff::Timestamp;
use mirrord_sessions_core::guard::{GuardFault, check_guard, guard_version};
use serde_json::Value;

use super::{
    Check, Facts, Reading,
    State::{Ok as Good, Problem},
    check::REAPPLY_MANIFESTS,
};

/// The policies of the manifests (`manifests/base/guard-*.yaml`), with the writes that each denies.
const GUARDS: [(&str, &str); 7] = [
    ("sessions.mirrord-sessions", "Sessions with a forged owner"),
    ("agents.mirrord-sessions", "agents with a forged stamp"),
    ("ephemeral-agents.mirrord-sessions", "ephemeral agents with a forged stamp"),
    ("controller-jobs.mirrord-sessions", "writes to Jobs beyond the webhook's task"),
    ("auditor-role.mirrord-sessions", "an auditor role that grants more than reading"),
    ("webhook-configurations.mirrord-sessions", "changes of the webhook's rules by its account"),
    (TRACKERS_GUARD, "changes of the Service of trackers by its account"),
];
/// The policy that is installed only with trackers.
const TRACKERS_GUARD: &str = "api-services.mirrord-sessions";

pub(super) fn guard(facts: &Facts) -> Check {
    let name = "guard";
    let (policies, bindings) = match (&facts.policies, &facts.policy_bindings) {
        (Reading::Known(policies), Reading::Known(bindings)) => (policies, bindings),
        (Reading::Known(_), other) | (other, _) => return Check::unread(name, other),
    };
    let has_trackers = !matches!(facts.api_service, Reading::Known(None));
    let expected = || GUARDS.iter().filter(|(policy, _)| has_trackers || *policy != TRACKERS_GUARD);
    let faults: Vec<_> = expected()
        .filter_map(|(policy, what)| {
            let fault = find_fault(policy, policies.as_ref(), bindings.as_ref())?;
            Some((what, format!("{policy} {fault}")))
        })
        .collect();
    let Some((what, _)) = faults.first() else {
        let names = expected().map(|(policy, _)| *policy);
        let since = unchanged_since(names, policies.as_ref(), bindings.as_ref());
        let since = since.map_or_else(String::new, |since| format!(", unchanged since {since}"));
        let message = format!("policies deny forged owners and stamps{since}");
        return Check::new(name, Good, message);
    };
    let faults: Vec<&str> = faults.iter().map(|(_, fault)| &**fault).collect();
    let message = format!("no policy denies {what}: {}", faults.join(", "));
    Check::new(name, Problem, message).with_remedy(REAPPLY_MANIFESTS)
}

/// Returns why a policy does not deny what the policy of this release denies.
fn find_fault(
    policy: &str,
    policies: Option<&Value>,
    bindings: Option<&Value>,
) -> Option<GuardFault> {
    check_guard(policy, named(policy, policies), named(policy, bindings)).err()
}

/// Returns the time since which no guard was changed, if the objects prove it.
fn unchanged_since<'a>(
    names: impl Iterator<Item = &'a str>,
    policies: Option<&Value>,
    bindings: Option<&Value>,
) -> Option<Timestamp> {
    let times: Option<Vec<Timestamp>> = names
        .map(|name| {
            guard_version(named(name, policies)?, named(name, bindings)?)?.unchanged_since()
        })
        .collect();
    times?.into_iter().max()
}

fn named<'a>(name: &str, list: Option<&'a Value>) -> Option<&'a Value> {
    items(list).find(|item| item["metadata"]["name"] == name)
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    let items = list.and_then(|list| list["items"].as_array());
    items.into_iter().flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use mirrord_sessions_core::guard::shipped_guards;
    use serde_json::json;

    use super::*;

    /// Returns the lists of policies and bindings of the manifests, except for one.
    pub(crate) fn lists(but: &str) -> (Reading<Option<Value>>, Reading<Option<Value>>) {
        let guards = || shipped_guards().iter().filter(|guard| guard.name != but);
        let list = |items: Vec<Value>| Reading::Known(Some(json!({ "items": items })));
        let policies = guards().map(|guard| guard.policy.clone());
        let bindings = guards().map(|guard| guard.binding.clone());
        (list(policies.collect()), list(bindings.collect()))
    }

    #[test]
    fn names_all_shipped_guards() {
        let mut shipped: Vec<&str> =
            shipped_guards().iter().map(|guard| guard.name.as_str()).collect();
        let mut guards = GUARDS.map(|(name, _)| name);
        shipped.sort_unstable();
        guards.sort_unstable();
        assert_eq!(shipped, guards);
    }

    #[test]
    fn reports_unenforced_policies() {
        let name = "agents.mirrord-sessions";
        let guard = shipped_guards().iter().find(|guard| guard.name == name).unwrap();
        let list = |item: &Value| json!({ "items": [item] });
        let policies = list(&guard.policy);
        let with = |pointer: &str, value: Value| {
            let mut binding = guard.binding.clone();
            *binding.pointer_mut(pointer).unwrap() = value;
            Some(list(&binding))
        };
        let actions = "/spec/validationActions";
        let excluding = || {
            let mut binding = guard.binding.clone();
            binding["spec"]["matchResources"] =
                json!({ "namespaceSelector": { "matchLabels": { "a": "b" } } });
            Some(list(&binding))
        };
        for (policies, bindings, expected) in [
            (Some(&policies), Some(list(&guard.binding)), None),
            (Some(&policies), with(actions, json!(["Audit", "Deny"])), None),
            (Some(&policies), with(actions, json!(["Warn"])), Some("is bound, but doesn't deny")),
            (Some(&policies), with(actions, json!(null)), Some("is bound, but doesn't deny")),
            (Some(&policies), excluding(), Some("differs in spec.matchResources")),
            (Some(&policies), with("/metadata/name", json!("a")), Some("isn't bound")),
            (Some(&policies), Some(json!({ "items": [] })), Some("isn't bound")),
            (Some(&policies), None, Some("isn't bound")),
            (None, Some(list(&guard.binding)), Some("does not exist")),
        ] {
            let fault =
                find_fault(name, policies, bindings.as_ref()).map(|fault| fault.to_string());
            let matches = match (&fault, expected) {
                (None, None) => true,
                (Some(fault), Some(expected)) => fault.contains(expected),
                _ => false,
            };
            assert!(matches, "{bindings:?}: {fault:?}");
        }
    }

    #[test]
    fn reports_age_only_if_the_objects_prove_it() {
        let name = "agents.mirrord-sessions";
        let list = |generation: u64, created_at: &str| {
            let metadata = json!({
                "name": name, "uid": "1", "generation": generation, "creationTimestamp": created_at,
            });
            json!({ "items": [{ "metadata": metadata }] })
        };
        let since = |policies: &Value, bindings: &Value| {
            let since = unchanged_since([name].into_iter(), Some(policies), Some(bindings));
            since.map(|time| time.to_string())
        };
        let early = list(1, "2026-01-01T00:00:00Z");
        let late = list(1, "2026-02-01T00:00:00Z");
        let changed = list(2, "2026-01-01T00:00:00Z");
        assert_eq!(since(&early, &late).as_deref(), Some("2026-02-01T00:00:00Z"));
        assert_eq!(since(&early, &changed), None);
        assert_eq!(since(&changed, &early), None);
    }
}
