//! The CustomResourceDefinitions in their installed form.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{Session, SessionPolicy};

/// Returns each definition with the name of its file in `crds/`.
#[must_use]
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("sessions.yaml", session()), ("sessionpolicies.yaml", session_policy())]
}

/// Returns a definition as YAML.
///
/// # Errors
/// No error is known: the types always serialise.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let body = serde_saphyr::to_string(crd)?;
    Ok(format!("# Generated from crds/src by `cargo crdgen`: change it there.\n{body}"))
}

fn session() -> CustomResourceDefinition {
    let mut crd = Session::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        reject_nulls(schema);
        // The API server drops the status on create. A default on the property itself makes a new
        // Session pending at once, and not only after the first write of the controller.
        let properties = schema.properties.as_mut();
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(json!({ "state": "pending" })));
        }
    }
    crd
}

fn session_policy() -> CustomResourceDefinition {
    let mut crd = SessionPolicy::crd();
    for schema in crd.spec.versions.iter_mut().filter_map(|version| {
        let schema = version.schema.as_mut()?;
        schema.open_api_v3_schema.as_mut()
    }) {
        reject_nulls(schema);
        let properties = schema.properties.as_mut();
        if let Some(spec) = properties.and_then(|properties| properties.get_mut("spec")) {
            keep_unknown_fields(spec);
        }
    }
    crd
}

/// Keeps unknown fields, so that admission can reject them. If they were pruned, a rule with a
/// misspelt `where` would match every session.
fn keep_unknown_fields(schema: &mut JSONSchemaProps) {
    if schema.type_.as_deref() == Some("object") {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    // serde's `deny_unknown_fields` generates `additionalProperties: false`.
    schema.additional_properties = None;
    let properties = schema.properties.iter_mut();
    for property in properties.flat_map(BTreeMap::values_mut) {
        keep_unknown_fields(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        keep_unknown_fields(items);
    }
}

/// Rejects null for optional fields. The guard policy uses `has()`, which is true for a null.
fn reject_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        reject_nulls(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        reject_nulls(items);
    }
}
