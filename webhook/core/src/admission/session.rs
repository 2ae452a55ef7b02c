//! Who owns a Session: its creator, and nobody else ever.
//!
//! `spec.owner` and `spec.user` belong to the cluster. On CREATE they become the requester's,
//! whatever was sent; on UPDATE they are put back as they were, so that applying the original
//! manifest again stays harmless. The guard policy holds the same without this process.

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
/// The controller alone may name another owner: it records agents on behalf of those who started
/// them.
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
    let user = user_line(client_words(object).as_ref(), &owner);
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
        "spec.{} ignored: a Session belongs to who creates it ({})",
        forged.join(" and spec."),
        printable(&owner.username, SHOWN)
    ))
}

/// Puts owner and user of an updated Session back as they were.
#[must_use]
pub fn on_update(object: &Value, old: &Value) -> Decision {
    if !object.get("spec").is_some_and(Value::is_object) {
        return Decision::invalid("spec: Required value: a Session needs a spec with a target");
    }
    let before = |field: &str| old.get("spec").and_then(|spec| spec.get(field));
    let (fields, operations): (Vec<&str>, Vec<PatchOperation>) = ["owner", "user"]
        .into_iter()
        .filter_map(|field| Some((field, set(object, field, before(field))?)))
        .unzip();
    if fields.is_empty() {
        return Decision::allow();
    }
    let owner = before("owner")
        .and_then(|owner| owner.get("username"))
        .and_then(Value::as_str)
        .unwrap_or("nobody");
    Decision::patch(operations).warn(format!(
        "spec.{} kept as the cluster wrote it: the owner of a Session ({}) never changes",
        fields.join(" and spec."),
        printable(owner, SHOWN)
    ))
}

/// How much of a user name a warning shows; the API server cuts long warnings.
const SHOWN: usize = 80;

/// The one operation that gives `spec.<field>` this value, or none if it has it already.
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

/// What the client says of itself. A word of another type than text is left to the schema to
/// refuse.
fn client_words(object: &Value) -> Option<Client> {
    let client = object.get("spec")?.get("client")?;
    let word = |name: &str| client.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Client {
        username: word("username"),
        hostname: word("hostname"),
        version: word("version"),
    })
}

fn recorded_owner(object: &Value) -> Option<Owner> {
    let owner = object.get("spec")?.get("owner")?;
    let owner: Owner = serde_json::from_value(owner.clone()).ok()?;
    (!owner.username.is_empty()).then_some(owner)
}

/// The owner as JSON, without the fields that the API server did not give.
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
