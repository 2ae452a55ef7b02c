//! The schema, for `kubectl explain` and the like: made from the type that is served.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mirrord_sessions_crds::{
    SessionJoin, SessionReport, SessionTracker, TRACKER_GROUP, TRACKER_VERSION, TRACKERS,
    custom_resource_definition,
};
use serde_json::{Map, Value, json};

use super::subresource::Subresource;

/// The schema's name, as Kubernetes names those of its own.
const NAME: &str = "co.metalbear.operator.visibility.v1.SessionTracker";
/// The schema's name of another kind.
fn schema_name(kind: &str) -> String {
    format!("co.metalbear.operator.visibility.v1.{kind}")
}

const LIST: &str = "co.metalbear.operator.visibility.v1.SessionTrackerList";

/// `/openapi/v2`
#[must_use]
pub fn v2(version: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
    json!({
        "swagger": "2.0",
        "info": info(version),
        "paths": paths(&|name| json!({ "schema": reference(name), "description": "OK" }), &|name, place| json!({ "name": name, "in": place, "type": "string", "required": place == "path", "uniqueItems": true })),
        "definitions": swagger(schemas(&reference)),
    })
}

/// `/openapi/v3`, with where the document is. Its hash changes with the document.
#[must_use]
pub fn v3_paths(version: &str) -> Value {
    let text = v3(version).to_string();
    let hash = super::continue_token::list_id(None, &text);
    let path = format!("apis/{TRACKER_GROUP}/{TRACKER_VERSION}");
    let url = format!("/openapi/v3/{path}?hash={hash:016X}");
    json!({ "paths": { path: { "serverRelativeURL": url } } })
}

/// `/openapi/v3/apis/GROUP/VERSION`
#[must_use]
pub fn v3(version: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({
        "openapi": "3.0.0",
        "info": info(version),
        "paths": paths(&|name| json!({ "description": "OK", "content": { "application/json": { "schema": reference(name) } } }), &|name, place| json!({ "name": name, "in": place, "schema": { "type": "string", "uniqueItems": true }, "required": place == "path" })),
        "components": { "schemas": schemas(&reference) },
    })
}

/// Without what version 2 doesn't know. One such word in one aggregated API, and the API server
/// serves nobody's schema: `kubectl apply` then fails for every custom resource.
fn swagger(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for unknown in ["nullable", "anyOf", "oneOf", "not", "x-kubernetes-validations"] {
                fields.remove(unknown);
            }
            for field in fields.values_mut() {
                *field = swagger(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = swagger(item.take());
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
    answer: &dyn Fn(&str) -> Value,
    parameter: &dyn Fn(&str, &str) -> Value,
) -> Map<String, Value> {
    let base = format!("/apis/{TRACKER_GROUP}/{TRACKER_VERSION}");
    let everywhere = format!("{base}/{TRACKERS}");
    let namespaced = format!("{base}/namespaces/{{namespace}}/{TRACKERS}");
    let one = format!("{namespaced}/{{name}}");
    [
        (everywhere, "list", "ForAllNamespaces", LIST, &[][..]),
        (namespaced, "list", "Namespaced", LIST, &["namespace"]),
        (one, "get", "Namespaced", NAME, &["name", "namespace"]),
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
            "responses": { "200": answer(schema) },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind("SessionTracker"),
        });
        if answer(schema).get("schema").is_some() {
            operation["produces"] = json!(["application/json", "application/yaml"]);
        }
        (path, json!({ "get": operation, "parameters": parameters }))
    })
    .chain(Subresource::ALL.map(|one| created(one, answer, parameter)))
    .collect()
}

/// The path of a subresource.
fn created(
    one: Subresource,
    answer: &dyn Fn(&str) -> Value,
    parameter: &dyn Fn(&str, &str) -> Value,
) -> (String, Value) {
    let name = one.name();
    let path = format!(
        "/apis/{TRACKER_GROUP}/{TRACKER_VERSION}/namespaces/{{namespace}}/{TRACKERS}/{{name}}/{name}"
    );
    let schema = schema_name(one.kind());
    let mut parameters: Vec<Value> =
        ["name", "namespace"].map(|name| parameter(name, "path")).into();
    parameters.push(parameter("dryRun", "query"));
    let id = match one {
        Subresource::Join => "createVisibilityOperatorMetalbearCoV1NamespacedSessionTrackerJoin",
        Subresource::Report => {
            "createVisibilityOperatorMetalbearCoV1NamespacedSessionTrackerReport"
        }
    };
    let ok = answer(&schema);
    let mut operation = json!({
        "operationId": id,
        "description": format!("create {name} of a tracker of a mirrord session"),
        "tags": ["visibilityOperatorMetalbearCo_v1"],
        "responses": { "200": ok, "201": ok },
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": kind(one.kind()),
    });
    // The one difference that the two versions of OpenAPI have here.
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
    let types = || {
        [
            ("apiVersion", text("The version of the schema: visibility.operator.metalbear.co/v1.")),
            ("kind", text("What this is.")),
        ]
    };
    let mut tracker = structural(custom_resource_definition::<SessionTracker>());
    for (name, schema) in types() {
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
                    "remainingItemCount": { "type": "integer", "format": "int64", "description": "How many trackers there are after this page." },
                },
            },
        },
        "x-kubernetes-group-version-kind": [kind("SessionTrackerList")],
    });
    for (name, schema) in types() {
        list["properties"][name] = schema;
    }
    let mut schemas = json!({ NAME: tracker, LIST: list });
    for (one, mut schema) in [
        (Subresource::Join, structural(custom_resource_definition::<SessionJoin>())),
        (Subresource::Report, structural(custom_resource_definition::<SessionReport>())),
    ] {
        // kube makes a spec for each, and a join says nothing.
        if one == Subresource::Join
            && let Some(properties) = schema["properties"].as_object_mut()
        {
            properties.remove("spec");
            schema["required"] = json!([]);
        }
        for (name, schema_of) in types() {
            schema["properties"][name] = schema_of;
        }
        schema["properties"]["metadata"] = metadata();
        schema["x-kubernetes-group-version-kind"] = json!([kind(one.kind())]);
        schemas[schema_name(one.kind())] = schema;
    }
    schemas
}

fn metadata() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    json!({
        "type": "object",
        "description": "Metadata, those of the Session of the same name.",
        "properties": {
            "name": text("The session's id, in lower case."),
            "namespace": text("The namespace of the session's target."),
            "uid": text("The Session's unique identifier."),
            "resourceVersion": text("The Session's version."),
            "creationTimestamp": time("When the Session was created."),
            "deletionTimestamp": time("When the Session is to be deleted."),
            "labels": { "type": "object", "additionalProperties": { "type": "string" }, "description": "The Session's labels." },
        },
    })
}

/// The structural schema that kube derives from a type.
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
    fn every_field_is_explained_and_every_reference_leads_somewhere() {
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
