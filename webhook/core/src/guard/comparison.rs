//! Comparison of stored specs with shipped ones, after both got the defaults of the API server.
//!
//! The defaults are those of `pkg/apis/admissionregistration/v1/defaults.go` in Kubernetes. A cluster
//! test compares the shipped policies with what a real API server stores.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Returns the first field in which a stored policy spec differs from the shipped one.
pub(super) fn policy_difference(stored: &Value, shipped: &Value) -> Option<String> {
    difference(&normalized_policy(stored), &normalized_policy(shipped))
}

/// Returns the first field in which a stored binding spec differs from the shipped one.
pub(super) fn binding_difference(stored: &Value, shipped: &Value) -> Option<String> {
    difference(&normalized_binding(stored), &normalized_binding(shipped))
}

/// Returns whether a binding denies what its policy finds invalid.
pub(super) fn is_denying(binding: &Value) -> bool {
    let actions = binding["spec"]["validationActions"].as_array();
    actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
}

fn difference(stored: &Value, shipped: &Value) -> Option<String> {
    let fields = |spec: &Value| -> BTreeSet<String> {
        spec.as_object().into_iter().flat_map(Map::keys).cloned().collect()
    };
    let mut names = fields(stored);
    names.extend(fields(shipped));
    names.into_iter().find(|name| stored.get(name) != shipped.get(name))
}

fn normalized_policy(spec: &Value) -> Value {
    let mut spec = spec.clone();
    remove_empty(&mut spec);
    set_default(&mut spec, "failurePolicy", &json!("Fail"));
    if let Some(constraints) = spec.get_mut("matchConstraints") {
        normalize_match(constraints);
    }
    spec
}

fn normalized_binding(spec: &Value) -> Value {
    let mut spec = spec.clone();
    remove_empty(&mut spec);
    // An empty `matchResources` matches every request, like none.
    set_default(&mut spec, "matchResources", &json!({}));
    normalize_match(&mut spec["matchResources"]);
    // To audit denied requests too is harmless.
    if is_denying(&json!({ "spec": spec })) {
        spec["validationActions"] = json!(["Deny"]);
    }
    spec
}

fn normalize_match(resources: &mut Value) {
    set_default(resources, "matchPolicy", &json!("Equivalent"));
    set_default(resources, "namespaceSelector", &json!({}));
    set_default(resources, "objectSelector", &json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        let rules = resources.get_mut(list).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            set_default(rule, "scope", &json!("*"));
        }
    }
}

fn set_default(object: &mut Value, field: &str, default: &Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(field).or_insert_with(|| default.clone());
    }
}

/// Removes fields that are null or an empty list, which the API server omits.
fn remove_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| {
                !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
            });
            fields.values_mut().for_each(remove_empty);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_empty),
        _ => {}
    }
}
