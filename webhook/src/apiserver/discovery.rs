//! Documents that are the same for every requester: discovery, OpenAPI schema and version.

use http::{HeaderValue, header::CONTENT_TYPE, request::Parts};
use mirrord_sessions_core::apiserver::{
    ApiError,
    content_negotiation::{self, Discovery, Encoding},
    discovery, openapi,
};
use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION};
use serde_json::json;

use super::{headers, responses};
use crate::server::response::Response;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the document at the path of a request.
pub(super) async fn handle(head: &Parts) -> Result<Response, ApiError> {
    let request_headers = &head.headers;
    let path = head.uri.path().trim_end_matches('/');
    let group = format!("/apis/{TRACKER_GROUP}");
    let version = format!("{group}/{TRACKER_VERSION}");
    // Skip the negotiation: OpenAPI clients send media types of their own, and all accept JSON.
    let json_document = match path.strip_prefix("/openapi/") {
        Some("v2") => Some(openapi::v2(VERSION)),
        Some("v3") => Some(openapi::v3_paths(VERSION)),
        Some(rest) if rest.strip_prefix("v3") == Some(&version) => Some(openapi::v3(VERSION)),
        None if path == "/version" => Some(
            json!({ "gitVersion": format!("v{VERSION}"), "major": "1", "minor": "0", "platform": std::env::consts::ARCH }),
        ),
        _ => None,
    };
    if let Some(document) = json_document {
        return Ok(responses::document(request_headers, Encoding::Json, &document).await);
    }
    let (encoding, form) =
        content_negotiation::negotiate_discovery(headers::accept(request_headers))?;
    let document = match (path, form) {
        ("/apis", Discovery::Aggregated(version)) => {
            let mut response =
                responses::document(request_headers, encoding, &discovery::aggregated(version))
                    .await;
            let content_type = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            if let Ok(value) = HeaderValue::from_str(&content_type) {
                response.headers_mut().insert(CONTENT_TYPE, value);
            }
            return Ok(response);
        }
        ("/apis", Discovery::Legacy) => discovery::groups(),
        (path, _) if path == group => discovery::api_group(),
        (path, _) if path == version => discovery::resources(),
        _ => return Err(ApiError::path_not_found()),
    };
    Ok(responses::document(request_headers, encoding, &document).await)
}
