//! The `admission.k8s.io/v1` AdmissionReview, as the API server sends and receives it.
//!
//! The types of kube require a well-formed object, which a hostile object is not, and write the
//! patch as a list of numbers. Here the object stays raw, and the patch is base64, as the API
//! documents.

use k8s_openapi::{ByteString, api::authentication::v1::UserInfo};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, value::RawValue};

use super::objects::MAX_SENT;
use mirrord_sessions_core::{
    admission::{Decision, Denial, Outcome},
    identity::Requester,
    text::printable,
};
use mirrord_sessions_crds::GROUP;

/// The only supported version.
pub(crate) const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Describes why a body is not a review that can be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidReview {
    #[error("the body is not JSON of an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error("expected kind AdmissionReview, got {0:?}")]
    Kind(String),
    #[error("expected apiVersion {API_VERSION}, got {0:?}")]
    Version(String),
    #[error("the AdmissionReview has no request")]
    NoRequest,
    #[error("the request of the AdmissionReview has no uid to answer to")]
    NoUid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct IncomingReview<'a> {
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// The fields of an AdmissionRequest that decisions need. Endpoints parse the objects themselves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    #[serde(default)]
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) resource: Resource,
    #[serde(default)]
    pub(crate) sub_resource: String,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) dry_run: Option<bool>,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default, deserialize_with = "bounded_user_info")]
    user_info: UserInfo,
    #[serde(default, borrow)]
    pub(crate) object: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(crate) old_object: Option<&'a RawValue>,
}

/// Parses a bounded `userInfo`. The API server could not store a larger one as an owner.
fn bounded_user_info<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserInfo, D::Error> {
    let user = <&RawValue>::deserialize(deserializer)?;
    if user.get().len() > MAX_SENT {
        return Err(D::Error::custom("userInfo is over 1 MiB: no Session can hold so many groups"));
    }
    serde_json::from_str(user.get()).map_err(D::Error::custom)
}

/// The group, version and plural name of a resource.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) struct Resource {
    #[serde(default)]
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    #[serde(rename = "resource")]
    pub(crate) plural: String,
}

impl<'a> Request<'a> {
    /// Parses a review and returns its request.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, InvalidReview> {
        // Check the type first: the error about a ConfigMap should name its kind, not the missing
        // request.
        let types: TypeMeta = serde_json::from_slice(body)?;
        if types.kind != KIND {
            return Err(InvalidReview::Kind(types.kind));
        }
        if types.api_version != API_VERSION {
            return Err(InvalidReview::Version(types.api_version));
        }
        let review: IncomingReview<'a> = serde_json::from_slice(body)?;
        let request = review.request.ok_or(InvalidReview::NoRequest)?;
        if request.uid.is_empty() {
            return Err(InvalidReview::NoUid);
        }
        Ok(request)
    }

    /// Returns the effective user of the request.
    pub(crate) fn requester(&self) -> Requester {
        let user = &self.user_info;
        Requester {
            username: user.username.clone().unwrap_or_default(),
            uid: user.uid.clone().filter(|uid| !uid.is_empty()),
            groups: user.groups.clone().unwrap_or_default(),
            extra: user.extra.clone().unwrap_or_default(),
        }
    }
}

/// The AdmissionReview of a response.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// The details by which clients distinguish a missing object from a missing API.
#[derive(Serialize)]
struct Details {
    name: String,
    group: &'static str,
    kind: &'static str,
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        Self {
            code: denial.code,
            reason: denial.reason,
            message: denial.message,
            details: denial.missing.map(|missing| Details {
                name: missing.name,
                group: missing.group,
                kind: missing.resource,
            }),
        }
    }
}

impl Review {
    /// Returns the review that responds to the request `uid` with a decision.
    pub(super) fn respond(uid: String, decision: Decision) -> Result<Self, serde_json::Error> {
        let mut response = Response {
            uid,
            allowed: true,
            status: None,
            patch_type: None,
            patch: None,
            warnings: decision.warnings,
        };
        match decision.outcome {
            Outcome::Allow(operations) if operations.is_empty() => {}
            Outcome::Allow(operations) => {
                response.patch_type = Some("JSONPatch");
                response.patch = Some(ByteString(serde_json::to_vec(&operations)?));
            }
            Outcome::Deny(denial) => {
                response.allowed = false;
                response.status = Some(denial.into());
            }
        }
        Ok(Self { api_version: API_VERSION, kind: KIND, response })
    }
}

/// Denies a review of any resource other than the one that the endpoint serves.
///
/// `purpose` is the predicate of the error message, for example `stamps`.
pub(super) fn expect_resource(
    request: &Request<'_>,
    plural: &str,
    purpose: &str,
) -> Result<(), Decision> {
    let Resource { group, version, plural: sent } = &request.resource;
    if group == GROUP && sent == plural {
        return Ok(());
    }
    Err(Decision::bad_request(printable(
        &format!(
            "this endpoint {purpose} {plural}.{GROUP}, not {sent}.{version}.{group}: check the rules of the webhook configuration"
        ),
        512,
    )))
}

/// Extracts the required parts of one of the objects of a request.
pub(super) fn object<T>(
    request: &Request<'_>,
    field: &str,
    object: Option<&RawValue>,
    extract: impl FnOnce(&RawValue) -> Result<T, serde_json::Error>,
) -> Result<T, Decision> {
    let object = object.ok_or_else(|| {
        Decision::bad_request(format!(
            "the {API_VERSION} request to {} {} has no {field}",
            request.operation, request.resource.plural
        ))
    })?;
    extract(object).map_err(|error| {
        Decision::bad_request(printable(&format!("{field} can't be read: {error}"), 512))
    })
}

/// Denies an object of another kind.
pub(super) fn expect_kind(object: &Value, kind: &str) -> Result<(), Decision> {
    let sent = object.get("kind");
    if sent.is_some_and(|sent| sent == kind) {
        return Ok(());
    }
    Err(Decision::bad_request(printable(
        &format!("expected a {kind}, got an object of kind {}", sent.unwrap_or(&Value::Null)),
        512,
    )))
}
