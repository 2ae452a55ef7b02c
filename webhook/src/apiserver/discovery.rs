//! What is the same for everybody: discovery, schema and version.

use http::{HeaderValue, header::CONTENT_TYPE, request::Parts};
use mirrord_sessions_core::apiserver::{
    Failure,
    accept::{self, Discovery, Encoding},
    discovery, openapi,
};
use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde_json::json;

use super::{responses, routes::accepts};
use crate::server::response::Response;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The document at a path.
pub(crate) async fn answer(head: &Parts) -> Result<Response, Failure> {
    let headers = &head.headers;
    let path = head.uri.path().trim_end_matches('/');
    let group = format!("/apis/{TRACKER_GROUP}");
    let version = format!("{group}/{TRACKER_VERSION}");
    // The documents of OpenAPI are asked for by media types of their own, JSON among others.
    let plain = match path.strip_prefix("/openapi/") {
        Some("v2") => Some(openapi::v2(VERSION)),
        Some("v3") => Some(openapi::v3_paths(VERSION)),
        Some(rest) if rest.strip_prefix("v3") == Some(&version) => Some(openapi::v3(VERSION)),
        None if path == "/version" => Some(
            json!({ "gitVersion": format!("v{VERSION}"), "major": "1", "minor": "0", "platform": std::env::consts::ARCH }),
        ),
        _ => None,
    };
    if let Some(plain) = plain {
        return Ok(responses::document(headers, Encoding::Json, &plain).await);
    }
    let (encoding, form) = accept::negotiate_discovery(accepts(headers))?;
    let document = match (path, form) {
        ("/apis", Discovery::Aggregated(version)) => {
            let mut answer =
                responses::document(headers, encoding, &discovery::aggregated(version)).await;
            let content_type = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            if let Ok(value) = HeaderValue::from_str(&content_type) {
                answer.headers_mut().insert(CONTENT_TYPE, value);
            }
            return Ok(answer);
        }
        ("/apis", Discovery::Legacy) => discovery::groups(),
        (path, _) if path == group => discovery::this_group(),
        (path, _) if path == version => discovery::resources(),
        _ => return Err(Failure::no_such_path()),
    };
    Ok(responses::document(headers, encoding, &document).await)
}
