//! The CustomResourceDefinitions as they are installed.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{Session, SessionPolicy};

/// Each definition with the file in `crds/` that holds it.
///
/// [`session_policy`] isn't among them: nothing enforces SessionPolicies yet, and a policy that can be
/// written and does nothing is worse than none.
#[must_use]
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("sessions.yaml", session())]
}

/// The definition in the YAML that is committed.
///
/// # Errors
/// None is known: the types serialise always.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let body = serde_saphyr::to_string(crd)?;
    Ok(format!(
        "# Generated from crds/src by `cargo crdgen`: change it there.\n{body}"
    ))
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

/// The definition of SessionPolicies.
#[must_use]
pub fn session_policy() -> CustomResourceDefinition {
    let mut crd = SessionPolicy::crd();
    for schema in crd.spec.versions.iter_mut().filter_map(|version| {
        let schema = version.schema.as_mut()?;
        schema.open_api_v3_schema.as_mut()
    }) {
        refuse_nulls(schema);
    }
    crd
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
