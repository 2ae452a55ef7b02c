//! The CustomResourceDefinitions as they are installed.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{Session, SessionPolicy};

/// Each definition with the file in `crds/` that holds it.
#[must_use]
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("sessions.yaml", session()), ("sessionpolicies.yaml", session_policy())]
}

/// The definition in the YAML that is committed.
///
/// # Errors
/// None is known: the types serialise always.
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
        refuse_nulls(schema);
        // The API server drops status on create; a default on the property itself makes a new
        // Session read as pending at once, and not only after the controller's first write.
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
        refuse_nulls(schema);
        let properties = schema.properties.as_mut();
        if let Some(spec) = properties.and_then(|properties| properties.get_mut("spec")) {
            keep_unknown_fields(spec);
        }
    }
    crd
}

/// A field that is misspelt is kept, for admission to refuse: were it dropped, a rule whose `where`
/// is misspelt would match every session.
fn keep_unknown_fields(schema: &mut JSONSchemaProps) {
    if schema.type_.as_deref() == Some("object") {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    // Which is another way of saying that there are no others.
    schema.additional_properties = None;
    let properties = schema.properties.iter_mut();
    for property in properties.flat_map(BTreeMap::values_mut) {
        keep_unknown_fields(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        keep_unknown_fields(items);
    }
}

/// An optional field is absent, never null: the guard policy asks `has()`, which is true of a null.
fn refuse_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        refuse_nulls(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_nulls(items);
    }
}
