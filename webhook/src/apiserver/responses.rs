//! Responses of the aggregated API: JSON or YAML, compressed beyond a minimum size.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY},
};
use mirrord_sessions_core::apiserver::{ApiError, content_negotiation::Encoding};
use serde_json::Value;

use super::headers::accepts_gzip;
use crate::server::{body::full, response::Response};

/// The minimum size of compressed responses, as in the API server.
const MIN_COMPRESSED_SIZE: usize = 128 << 10;

/// Returns a response with a JSON body, converted to YAML if the client prefers that.
pub(super) async fn encode(
    request_headers: &HeaderMap,
    encoding: Encoding,
    json: Vec<u8>,
) -> Response {
    let (content_type, bytes) = match encoding {
        Encoding::Json => ("application/json", json),
        Encoding::Yaml => match yaml(&json) {
            Ok(yaml) => ("application/yaml", yaml),
            Err(error) => return error_response(&ApiError::not_ready(&error)),
        },
    };
    let compress = bytes.len() >= MIN_COMPRESSED_SIZE && accepts_gzip(request_headers);
    let (bytes, compressed) = if compress {
        // Compression takes some milliseconds per megabyte, too long for an async worker thread.
        let uncompressed = Bytes::from(bytes);
        let copy = uncompressed.clone();
        match tokio::task::spawn_blocking(move || gzip(&copy)).await {
            Ok(Ok(compressed)) => (compressed.into(), true),
            _ => (uncompressed, false),
        }
    } else {
        (bytes.into(), false)
    };
    let mut response = new_response(StatusCode::OK, content_type, bytes);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Returns a response with a JSON document.
pub(super) async fn document(
    request_headers: &HeaderMap,
    encoding: Encoding,
    value: &Value,
) -> Response {
    encode(request_headers, encoding, value.to_string().into_bytes()).await
}

/// Returns a Status response, always as JSON, which every client reads.
pub(super) fn error_response(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = error.status().to_string();
    let mut response = new_response(status, "application/json", body.into());
    if let Some(allow) = error.allow() {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn new_response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = http::Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Caches must not serve the response to another requester.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn yaml(json: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&value).map(String::into_bytes).map_err(|error| error.to_string())
}

fn gzip(uncompressed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder =
        GzEncoder::new(Vec::with_capacity(uncompressed.len() / 8), Compression::fast());
    encoder.write_all(uncompressed)?;
    encoder.finish()
}
