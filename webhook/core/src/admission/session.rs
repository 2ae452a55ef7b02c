//! Stamps Sessions with their owner: the creator, for the lifetime of the Session.
//!
//! The cluster writes `spec.owner` and `spec.user`. On CREATE they are set from the requester,
//! whatever the request contains. On UPDATE they are restored from the old object, so that applying
//! the original manifest again stays harmless. The guard policy enforces the same rule without this
//! process.

use json_patch::{
    AddOperation, PatchOperation, RemoveOperation, ReplaceOperation, jsonptr::PointerBuf,
};
use mirrord_sessions_crds::{Client, Owner};
use serde_json::Value;

use super::Decision;
use crate::{
    identity::{Requester, user_line},
    text::printable,
};

/// Stamps a new Session with its creator.
///
/// Only the controller may name another owner: it records agents on behalf of their requesters.
#[must_use]
pub fn on_create(object: &Value, requester: &Requester) -> Decision {
    let Some(spec) = object.get("spec").and_then(Value::as_object) else {
        return Decision::invalid("spec: Required value: a Session needs a spec with a target");
    };
    if requester.username.is_empty() {
        return Decision::bad_request(
            "the request names no user, so the Session would have no owner",
        );
    }
    let owner = match recorded_owner(object) {
        Some(owner) if requester.is_controller() => owner,
        _ => requester.to_owner(),
    };
    let user = user_line(client_info(object).as_ref(), &owner);
    let stamps = [("owner", owner_value(&owner)), ("user", Value::String(user))];
    let forged: Vec<&str> = stamps
        .iter()
        .filter(|(field, stamp)| spec.get(*field).is_some_and(|sent| sent != stamp))
        .map(|(field, _)| *field)
        .collect();
    let decision = Decision::patch(
        stamps.into_iter().filter_map(|(field, stamp)| set(object, field, Some(&stamp))).collect(),
    );
    if forged.is_empty() {
        return decision;
    }
    decision.warn(format!(
        "spec.{} ignored: a Session belongs to its creator ({})",
        forged.join(" and spec."),
        printable(&owner.username, MAX_SHOWN_NAME)
    ))
}

/// Restores the owner and the user of an updated Session.
#[must_use]
pub fn on_update(object: &Value, old: &Value) -> Decision {
    if !object.get("spec").is_some_and(Value::is_object) {
        return Decision::invalid("spec: Required value: a Session needs a spec with a target");
    }
    let stored = |field: &str| old.get("spec").and_then(|spec| spec.get(field));
    let (fields, operations): (Vec<&str>, Vec<PatchOperation>) = ["owner", "user"]
        .into_iter()
        .filter_map(|field| Some((field, set(object, field, stored(field))?)))
        .unzip();
    if fields.is_empty() {
        return Decision::allow();
    }
    let owner = stored("owner")
        .and_then(|owner| owner.get("username"))
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    Decision::patch(operations).warn(format!(
        "spec.{} restored: the owner of a Session ({}) never changes",
        fields.join(" and spec."),
        printable(owner, MAX_SHOWN_NAME)
    ))
}

/// Limit of a user name in a warning, in characters. The API server truncates long warnings.
const MAX_SHOWN_NAME: usize = 80;

/// Returns the operation that sets `spec.<field>` to a value, or nothing if the field has it
/// already.
fn set(object: &Value, field: &'static str, value: Option<&Value>) -> Option<PatchOperation> {
    let sent = object.get("spec").and_then(|spec| spec.get(field));
    let path = PointerBuf::from_tokens(["spec", field]);
    match (sent, value) {
        (sent, value) if sent == value => None,
        (None, Some(value)) => {
            Some(PatchOperation::Add(AddOperation { path, value: value.clone() }))
        }
        (Some(_), Some(value)) => {
            Some(PatchOperation::Replace(ReplaceOperation { path, value: value.clone() }))
        }
        (_, None) => Some(PatchOperation::Remove(RemoveOperation { path })),
    }
}

/// Returns the client's unverified description of itself. The schema rejects values that are not
/// strings.
fn client_info(object: &Value) -> Option<Client> {
    let client = object.get("spec")?.get("client")?;
    let field = |name: &str| client.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Client {
        username: field("username"),
        hostname: field("hostname"),
        version: field("version"),
    })
}

fn recorded_owner(object: &Value) -> Option<Owner> {
    let owner = object.get("spec")?.get("owner")?;
    let owner: Owner = serde_json::from_value(owner.clone()).ok()?;
    (!owner.username.is_empty()).then_some(owner)
}

/// Returns the owner as JSON, without the fields that the API server did not provide.
fn owner_value(owner: &Owner) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("username".into(), owner.username.clone().into());
    if let Some(uid) = &owner.uid {
        fields.insert("uid".into(), uid.clone().into());
    }
    if !owner.groups.is_empty() {
        fields.insert("groups".into(), owner.groups.clone().into());
    }
    Value::Object(fields)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
