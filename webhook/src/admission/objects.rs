//! Extraction of the fields that decisions need from the objects of a review.
//!
//! Other fields, which may have megabytes, are skipped without being parsed.

use mirrord_sessions_crds::{Session, SessionSpec, SessionStatus};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, value::RawValue};

/// Limit of a field that a client sends, in bytes. A larger field can't be stored with the rest of
/// an object, and parsing costs ten times its size.
pub(crate) const MAX_SENT: usize = 1 << 20;

#[derive(Deserialize)]
struct Parts<'a> {
    kind: Option<Value>,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SpecParts<'a> {
    #[serde(borrow)]
    client: Option<&'a RawValue>,
    #[serde(borrow)]
    owner: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
}

/// Returns the fields of a sent Session that determine its owner.
pub(crate) fn sent_identity(object: &RawValue) -> Result<Value, serde_json::Error> {
    identity(object, MAX_SENT)
}

/// Returns the fields of a stored Session that determine its owner, without a size limit.
///
/// A stored Session has passed the limits of the API server, and a decision may restore its fields.
pub(crate) fn stored_identity(object: &RawValue) -> Result<Value, serde_json::Error> {
    identity(object, usize::MAX)
}

fn identity(object: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if !object.get().starts_with('{') {
        // The decision reports that the value is not an object.
        return Ok(Value::Null);
    }
    let parts: Parts<'_> = serde_json::from_str(object.get())?;
    let mut fields = Map::new();
    fields.extend(parts.kind.map(|kind| ("kind".to_owned(), kind)));
    let spec = parts.spec.map(|spec| spec_parts(spec, limit)).transpose()?;
    fields.extend(spec.map(|spec| ("spec".to_owned(), spec)));
    Ok(Value::Object(fields))
}

fn spec_parts(spec: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if !spec.get().starts_with('{') {
        return Ok(Value::Null);
    }
    let spec: SpecParts<'_> = serde_json::from_str(spec.get())?;
    let mut fields = Map::new();
    for (name, part) in [
        ("client", spec.client),
        ("owner", spec.owner),
        ("user", spec.user),
        ("target", spec.target),
    ] {
        if let Some(part) = part {
            fields.insert(name.to_owned(), bounded(part, limit)?);
        }
    }
    Ok(Value::Object(fields))
}

/// Returns name and spec of an object, up to the limit for a sent field.
pub(crate) fn named_spec(object: &RawValue) -> Result<Value, serde_json::Error> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        name: String,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        kind: Option<Value>,
        metadata: Option<Metadata>,
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    if !object.get().starts_with('{') {
        return Ok(Value::Null);
    }
    let parts: Named<'_> = serde_json::from_str(object.get())?;
    let mut fields = Map::new();
    fields.extend(parts.kind.map(|kind| ("kind".to_owned(), kind)));
    if let Some(metadata) = parts.metadata {
        fields.insert(
            "metadata".into(),
            [("name".to_owned(), Value::from(metadata.name))]
                .into_iter()
                .collect::<Map<_, _>>()
                .into(),
        );
    }
    if let Some(spec) = parts.spec {
        fields.insert("spec".into(), bounded(spec, MAX_SENT)?);
    }
    Ok(Value::Object(fields))
}

/// Returns a stored Session with the fields that decisions and responses need.
pub(crate) fn stored_session(object: &RawValue) -> Result<Session, serde_json::Error> {
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
        namespace: String,
        uid: String,
    }
    #[derive(Deserialize)]
    struct Stored {
        metadata: Metadata,
        spec: SessionSpec,
        status: Option<SessionStatus>,
    }
    // serde accepts a list for a struct too.
    if !object.get().starts_with('{') {
        return Err(serde_json::Error::custom("expected an object"));
    }
    let Stored { metadata, spec, status } = serde_json::from_str(object.get())?;
    let mut session = Session::new(&metadata.name, spec);
    session.metadata.namespace = Some(metadata.namespace);
    session.metadata.uid = Some(metadata.uid);
    session.status = status;
    Ok(session)
}

/// Parses a field. A field over the limit becomes a text that states its size.
fn bounded(part: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if part.get().len() > limit {
        return Ok(Value::String(format!("{} bytes", part.get().len())));
    }
    serde_json::from_str(part.get())
}
