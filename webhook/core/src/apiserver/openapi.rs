//! OpenAPI documents, generated from the served types, for `kubectl explain` among others.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mirrord_sessions_crds::{
    SessionJoin, SessionReport, SessionTracker, TRACKER_GROUP, TRACKER_VERSION, TRACKERS,
    custom_resource_definition,
};
use serde_json::{Map, Value, json};

use super::subresource::Subresource;

/// The schema name of trackers, in the style of Kubernetes.
const NAME: &str = "co.metalbear.operator.visibility.v1.SessionTracker";

/// The schema name of a list of trackers.
const LIST: &str = "co.metalbear.operator.visibility.v1.SessionTrackerList";

/// Returns the schema name of a kind.
fn schema_name(kind: &str) -> String {
    format!("co.metalbear.operator.visibility.v1.{kind}")
}

/// Returns the document of `/openapi/v2`.
#[must_use]
pub fn v2(version: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
    json!({
        "swagger": "2.0",
        "info": info(version),
        "paths": paths(&|name| json!({ "schema": reference(name), "description": "OK" }), &|name, location| json!({ "name": name, "in": location, "type": "string", "required": location == "path", "uniqueItems": true })),
        "definitions": to_swagger(schemas(&reference)),
    })
}

/// Returns the index of `/openapi/v3`, with a hash that changes with the document.
#[must_use]
pub fn v3_paths(version: &str) -> Value {
    let text = v3(version).to_string();
    // The hash of lists suits any text.
    let hash = super::continue_token::list_id(None, &text);
    let path = format!("apis/{TRACKER_GROUP}/{TRACKER_VERSION}");
    let url = format!("/openapi/v3/{path}?hash={hash:016X}");
    json!({ "paths": { path: { "serverRelativeURL": url } } })
}

/// Returns the document of `/openapi/v3/apis/GROUP/VERSION`.
#[must_use]
pub fn v3(version: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({
        "openapi": "3.0.0",
        "info": info(version),
        "paths": paths(&|name| json!({ "description": "OK", "content": { "application/json": { "schema": reference(name) } } }), &|name, location| json!({ "name": name, "in": location, "schema": { "type": "string", "uniqueItems": true }, "required": location == "path" })),
        "components": { "schemas": schemas(&reference) },
    })
}

/// Removes keywords that OpenAPI version 2 does not define.
///
/// A single one in an aggregated API keeps the API server from serving any schema, and `kubectl
/// apply` then fails for every custom resource.
fn to_swagger(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for unknown in ["nullable", "anyOf", "oneOf", "not", "x-kubernetes-validations"] {
                fields.remove(unknown);
            }
            for field in fields.values_mut() {
                *field = to_swagger(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = to_swagger(item.take());
            }
        }
        _ => {}
    }
    schema
}

fn info(version: &str) -> Value {
    json!({ "title": "mirrord-sessions", "version": version })
}

fn kind(kind: &str) -> Value {
    json!({ "group": TRACKER_GROUP, "version": TRACKER_VERSION, "kind": kind })
}

fn paths(
    response: &dyn Fn(&str) -> Value,
    parameter: &dyn Fn(&str, &str) -> Value,
) -> Map<String, Value> {
    let base = format!("/apis/{TRACKER_GROUP}/{TRACKER_VERSION}");
    let cluster_wide = format!("{base}/{TRACKERS}");
    let namespaced = format!("{base}/namespaces/{{namespace}}/{TRACKERS}");
    let named = format!("{namespaced}/{{name}}");
    [
        (cluster_wide, "list", "ForAllNamespaces", LIST, &[][..]),
        (namespaced, "list", "Namespaced", LIST, &["namespace"]),
        (named, "get", "Namespaced", NAME, &["name", "namespace"]),
    ]
    .into_iter()
    .map(|(path, action, scope, schema, in_path)| {
        let id = match (action, scope) {
            ("list", "ForAllNamespaces") => {
                "listVisibilityOperatorMetalbearCoV1SessionTrackerForAllNamespaces"
            }
            ("list", _) => "listVisibilityOperatorMetalbearCoV1NamespacedSessionTracker",
            _ => "readVisibilityOperatorMetalbearCoV1NamespacedSessionTracker",
        };
        let parameters: Vec<Value> = in_path.iter().map(|name| parameter(name, "path")).collect();
        let mut operation = json!({
            "operationId": id,
            "description": format!("{action} trackers of mirrord sessions"),
            "tags": ["visibilityOperatorMetalbearCo_v1"],
            "responses": { "200": response(schema) },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind("SessionTracker"),
        });
        if response(schema).get("schema").is_some() {
            operation["produces"] = json!(["application/json", "application/yaml"]);
        }
        (path, json!({ "get": operation, "parameters": parameters }))
    })
    .chain(Subresource::ALL.map(|subresource| subresource_path(subresource, response, parameter)))
    .collect()
}

/// Returns the path of a subresource and its operations.
fn subresource_path(
    subresource: Subresource,
    response: &dyn Fn(&str) -> Value,
    parameter: &dyn Fn(&str, &str) -> Value,
) -> (String, Value) {
    let name = subresource.name();
    let path = format!(
        "/apis/{TRACKER_GROUP}/{TRACKER_VERSION}/namespaces/{{namespace}}/{TRACKERS}/{{name}}/{name}"
    );
    let schema = schema_name(subresource.kind());
    let mut parameters: Vec<Value> =
        ["name", "namespace"].map(|name| parameter(name, "path")).into();
    parameters.push(parameter("dryRun", "query"));
    let id = match subresource {
        Subresource::Join => "createVisibilityOperatorMetalbearCoV1NamespacedSessionTrackerJoin",
        Subresource::Report => {
            "createVisibilityOperatorMetalbearCoV1NamespacedSessionTrackerReport"
        }
    };
    let ok = response(&schema);
    let mut operation = json!({
        "operationId": id,
        "description": format!("create {name} of a tracker of a mirrord session"),
        "tags": ["visibilityOperatorMetalbearCo_v1"],
        "responses": { "200": ok, "201": ok },
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": kind(subresource.kind()),
    });
    // OpenAPI version 2 has the body among the parameters, version 3 in `requestBody`.
    if let Some(reference) = ok.get("schema") {
        let body = json!({ "name": "body", "in": "body", "required": true, "schema": reference });
        parameters.push(body);
        operation["consumes"] = json!(["application/json"]);
        operation["produces"] = json!(["application/json", "application/yaml"]);
    } else {
        operation["requestBody"] = json!({ "content": ok["content"] });
    }
    (path, json!({ "post": operation, "parameters": parameters }))
}

fn schemas(reference: &dyn Fn(&str) -> Value) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let type_fields = || {
        [
            ("apiVersion", text("The version of the schema: visibility.operator.metalbear.co/v1.")),
            ("kind", text("The kind of the object: a string in CamelCase.")),
        ]
    };
    let mut tracker = structural(custom_resource_definition::<SessionTracker>());
    for (name, schema) in type_fields() {
        tracker["properties"][name] = schema;
    }
    tracker["properties"]["metadata"] = metadata();
    tracker["x-kubernetes-group-version-kind"] = json!([kind("SessionTracker")]);
    let mut list = json!({
        "type": "object",
        "description": "SessionTrackerList is a list of SessionTrackers.",
        "required": ["items"],
        "properties": {
            "items": { "type": "array", "items": reference(NAME), "description": "The trackers that the requester sees." },
            "metadata": {
                "type": "object",
                "description": "Metadata of the list.",
                "properties": {
                    "resourceVersion": text("The state that the list shows."),
                    "continue": text("The token of the next page."),
                    "remainingItemCount": { "type": "integer", "format": "int64", "description": "The number of trackers after this page." },
                },
            },
        },
        "x-kubernetes-group-version-kind": [kind("SessionTrackerList")],
    });
    for (name, schema) in type_fields() {
        list["properties"][name] = schema;
    }
    let mut schemas = json!({ NAME: tracker, LIST: list });
    for (subresource, mut schema) in [
        (Subresource::Join, structural(custom_resource_definition::<SessionJoin>())),
        (Subresource::Report, structural(custom_resource_definition::<SessionReport>())),
    ] {
        // kube derives a spec for each type, but a join has none.
        if subresource == Subresource::Join
            && let Some(properties) = schema["properties"].as_object_mut()
        {
            properties.remove("spec");
            schema["required"] = json!([]);
        }
        for (name, schema_of) in type_fields() {
            schema["properties"][name] = schema_of;
        }
        schema["properties"]["metadata"] = metadata();
        schema["x-kubernetes-group-version-kind"] = json!([kind(subresource.kind())]);
        schemas[schema_name(subresource.kind())] = schema;
    }
    schemas
}

fn metadata() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    json!({
        "type": "object",
        "description": "Metadata of the Session of the same name.",
        "properties": {
            "name": text("The session's id, in lower case."),
            "namespace": text("The namespace of the session's target."),
            "uid": text("The Session's unique identifier."),
            "resourceVersion": text("The Session's version."),
            "creationTimestamp": time("The time at which the Session was created."),
            "deletionTimestamp": time("The time at which the Session is to be deleted."),
            "labels": { "type": "object", "additionalProperties": { "type": "string" }, "description": "The Session's labels." },
        },
    })
}

/// Returns the structural schema that kube derives from a type.
fn structural(definition: CustomResourceDefinition) -> Value {
    let crd = serde_json::to_value(definition);
    let schema = crd.ok().and_then(|mut crd| {
        crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").map(Value::take)
    });
    schema.unwrap_or_else(|| json!({ "type": "object", "properties": {} }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_describe_fields_and_resolve_references() {
        for (document, schemas) in [(v2("1"), "/definitions"), (v3("1"), "/components/schemas")] {
            let schemas = document.pointer(schemas).unwrap();
            let tracker = &schemas[NAME];
            for field in [
                "/metadata/properties/name",
                "/spec/properties/sessionId",
                "/status/properties/ports",
            ] {
                let field = format!("/properties{field}/description");
                assert!(tracker.pointer(&field).is_some(), "{field}");
            }
            let join = &schemas[schema_name("SessionJoin")]["properties"];
            assert!(join["spec"].is_null() && join["status"].is_object(), "{join}");
            let text = document.to_string();
            for (at, found) in text.match_indices(r##""$ref":"#"##) {
                let pointer = text[at + found.len()..].split('"').next().unwrap();
                assert!(document.pointer(pointer).is_some(), "{pointer}");
            }
        }
        assert!(!v2("1").to_string().contains("nullable"));
        let paths = v3_paths("1");
        let url = &paths["paths"]["apis/visibility.operator.metalbear.co/v1"]["serverRelativeURL"];
        assert!(url.as_str().unwrap().contains("?hash="));
    }
}
