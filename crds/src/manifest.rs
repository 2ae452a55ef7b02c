//! The CustomResourceDefinitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::Session;

/// Each definition with the file in `crds/` that holds it.
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
    Ok(format!("# Generated from crds/src by `cargo crdgen`: change it there.\n{body}"))
}

fn session() -> CustomResourceDefinition {
    let mut crd = Session::crd();
    // The API server drops status on create; a default on the property itself makes a new Session
    // read as pending at once, and not only after the controller's first write.
    let status = crd.spec.versions.iter_mut().find_map(|version| {
        let schema = version.schema.as_mut()?.open_api_v3_schema.as_mut()?;
        schema.properties.as_mut()?.get_mut("status")
    });
    if let Some(status) = status {
        status.default = Some(JSON(json!({ "state": "pending" })));
    }
    crd
}
