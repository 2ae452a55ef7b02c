//! What decisions need of the objects in a review. The rest, which may be megabytes, isn't taken
//! apart.

use mirrord_sessions_crds::{Session, SessionSpec, SessionStatus};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, value::RawValue};

/// What a client sends is taken apart up to this size. More can't be stored with the rest of an
/// object, and taking it apart costs ten times its size.
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

/// The parts of a Session that is sent which decide who owns it.
pub(crate) fn sent_identity(object: &RawValue) -> Result<Value, serde_json::Error> {
    identity(object, MAX_SENT)
}

/// The same of one that is stored: it has passed the API server's own limits, and may be put back
/// as it is.
pub(crate) fn stored_identity(object: &RawValue) -> Result<Value, serde_json::Error> {
    identity(object, usize::MAX)
}

fn identity(object: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if !object.get().starts_with('{') {
        // Whoever decides says that it is no object.
        return Ok(Value::Null);
    }
    let parts: Parts<'_> = serde_json::from_str(object.get())?;
    let mut kept = Map::new();
    kept.extend(parts.kind.map(|kind| ("kind".to_owned(), kind)));
    let spec = parts.spec.map(|spec| spec_parts(spec, limit)).transpose()?;
    kept.extend(spec.map(|spec| ("spec".to_owned(), spec)));
    Ok(Value::Object(kept))
}

fn spec_parts(spec: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if !spec.get().starts_with('{') {
        return Ok(Value::Null);
    }
    let spec: SpecParts<'_> = serde_json::from_str(spec.get())?;
    let mut kept = Map::new();
    for (name, part) in [
        ("client", spec.client),
        ("owner", spec.owner),
        ("user", spec.user),
        ("target", spec.target),
    ] {
        if let Some(part) = part {
            kept.insert(name.to_owned(), bounded(part, limit)?);
        }
    }
    Ok(Value::Object(kept))
}

/// Name and spec of an object that is taken whole, up to a size.
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
    let mut kept = Map::new();
    kept.extend(parts.kind.map(|kind| ("kind".to_owned(), kind)));
    if let Some(metadata) = parts.metadata {
        kept.insert(
            "metadata".into(),
            [("name".to_owned(), Value::from(metadata.name))]
                .into_iter()
                .collect::<Map<_, _>>()
                .into(),
        );
    }
    if let Some(spec) = parts.spec {
        kept.insert("spec".into(), bounded(spec, MAX_SENT)?);
    }
    Ok(Value::Object(kept))
}

/// A Session that is stored, as far as decisions rest on it and people are told of it.
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
    // serde would take a list for an object too.
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

fn bounded(part: &RawValue, limit: usize) -> Result<Value, serde_json::Error> {
    if part.get().len() > limit {
        return Ok(Value::String(format!("{} bytes", part.get().len())));
    }
    serde_json::from_str(part.get())
}
