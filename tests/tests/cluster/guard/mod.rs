//! Guard policies that limit what the webhook's service account may write, whatever RBAC allows.

mod api_service;
mod auditor_role;
mod webhook_configurations;

use std::collections::BTreeSet;

use mirrord_sessions_crds::CONTROLLER_USERNAME;
use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::Value;

use crate::support::{admin_json, shared};

/// Runs kubectl as the webhook's service account in the group `system:masters`.
///
/// RBAC allows everything to this group, so that only the guard policy can deny a request.
async fn kubectl_as_controller(args: &[&str], input: &Value) -> KubectlOutput {
    let user = format!("--as={CONTROLLER_USERNAME}");
    let args = [&[user.as_str(), "--as-group=system:masters"], args].concat();
    let plane = &shared().plane;
    plane.kubectl_with_input(plane.admin().path(), &args, &input.to_string()).await.unwrap()
}

/// Returns the field names of a type in the OpenAPI schema of an API group version.
async fn schema_fields(group_version: &str, type_name: &str) -> BTreeSet<String> {
    let path = format!("/openapi/v3/apis/{group_version}");
    let schema = admin_json(shared(), &["get", "--raw", &path]).await;
    let properties = &schema["components"]["schemas"][type_name]["properties"];
    properties.as_object().unwrap().keys().cloned().collect()
}
