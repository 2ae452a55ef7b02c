//! Checks of the guard policies, which the API server enforces without the webhook.

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
    let faults: Vec<_> = GUARDS
        .iter()
        .filter(|(policy, _)| has_trackers || *policy != TRACKERS_GUARD)
        .filter_map(|(policy, what)| {
            let fault = find_fault(policy, policies.as_ref(), bindings.as_ref())?;
            Some((what, format!("{policy} {fault}")))
        })
        .collect();
    let Some((what, _)) = faults.first() else {
        return Check::new(name, Good, "policies deny forged owners and stamps");
    };
    let faults: Vec<&str> = faults.iter().map(|(_, fault)| &**fault).collect();
    let message = format!("no policy denies {what}: {}", faults.join(", "));
    Check::new(name, Problem, message).with_remedy(REAPPLY_MANIFESTS)
}

/// Returns why a policy is not enforced.
fn find_fault(
    policy: &str,
    policies: Option<&Value>,
    bindings: Option<&Value>,
) -> Option<&'static str> {
    let exists = items(policies).any(|item| text(item, "/metadata/name") == Some(policy));
    let mut bound =
        items(bindings).filter(|item| text(item, "/spec/policyName") == Some(policy)).peekable();
    if !exists {
        Some("does not exist")
    } else if bound.peek().is_none() {
        Some("isn't bound")
    } else if bound.any(is_denying) {
        None
    } else {
        Some("is bound, but doesn't deny")
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    let items = list.and_then(|list| list["items"].as_array());
    items.into_iter().flatten()
}

fn text<'a>(item: &'a Value, pointer: &str) -> Option<&'a str> {
    item.pointer(pointer)?.as_str()
}

fn is_denying(binding: &Value) -> bool {
    let actions = binding.pointer("/spec/validationActions");
    let actions = actions.and_then(Value::as_array);
    actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the lists of policies and bindings of the manifests, except for one.
    pub(crate) fn lists(but: &str) -> (Reading<Option<Value>>, Reading<Option<Value>>) {
        let names = GUARDS.iter().map(|(name, _)| *name);
        let names: Vec<&str> = names.filter(|name| *name != but).collect();
        let list = |items: Vec<Value>| Reading::Known(Some(json!({ "items": items })));
        let policies = names.iter().map(|name| json!({ "metadata": { "name": name } }));
        let bindings = names
            .iter()
            .map(|name| json!({ "spec": { "policyName": name, "validationActions": ["Deny"] } }));
        (list(policies.collect()), list(bindings.collect()))
    }

    #[test]
    fn lists_all_guards_of_the_manifests() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with("guard-") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for document in text.split("\n---\n") {
                let object: Value = serde_saphyr::from_str(document).unwrap();
                if object["kind"] == "ValidatingAdmissionPolicy" {
                    found.push(object["metadata"]["name"].as_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        let mut guards = GUARDS.map(|(name, _)| name);
        guards.sort_unstable();
        assert_eq!(found, guards);
    }

    #[test]
    fn reports_unenforced_policies() {
        let policy = json!({ "items": [{ "metadata": { "name": "a" } }] });
        let bound = |actions: Value| json!({ "items": [{ "spec": { "policyName": "a", "validationActions": actions } }] });
        for (policies, bindings, expected) in [
            (Some(&policy), Some(bound(json!(["Deny"]))), None),
            (Some(&policy), Some(bound(json!(["Audit", "Deny"]))), None),
            (Some(&policy), Some(bound(json!(["Warn"]))), Some("is bound, but doesn't deny")),
            (Some(&policy), Some(bound(json!(null))), Some("is bound, but doesn't deny")),
            (Some(&policy), Some(json!({ "items": [] })), Some("isn't bound")),
            (Some(&policy), None, Some("isn't bound")),
            (None, Some(bound(json!(["Deny"]))), Some("does not exist")),
        ] {
            assert_eq!(find_fault("a", policies, bindings.as_ref()), expected, "{bindings:?}");
        }
    }
}
