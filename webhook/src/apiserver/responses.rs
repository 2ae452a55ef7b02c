//! Answers of the aggregated API: JSON or YAML, compressed where that pays.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY,
    },
};
use mirrord_sessions_core::apiserver::{Failure, accept::Encoding};
use serde_json::Value;

use crate::server::{body::full, response::Response};

/// Smaller answers aren't worth it; the API server's own bound.
const WORTH_COMPRESSING: usize = 128 << 10;

/// An answer of these bytes, which are JSON.
pub(crate) async fn json(request: &HeaderMap, encoding: Encoding, json: Vec<u8>) -> Response {
    let (content_type, bytes) = match encoding {
        Encoding::Json => ("application/json", json),
        Encoding::Yaml => match yaml(&json) {
            Ok(yaml) => ("application/yaml", yaml),
            Err(error) => return failure(&Failure::not_ready(&error)),
        },
    };
    let compress = bytes.len() >= WORTH_COMPRESSING && accepts_gzip(request);
    let (bytes, compressed) = if compress {
        // Some milliseconds a megabyte: too long for a thread that serves others.
        let plain = Bytes::from(bytes);
        let copy = plain.clone();
        match tokio::task::spawn_blocking(move || gzip(&copy)).await {
            Ok(Ok(compressed)) => (compressed.into(), true),
            _ => (plain, false),
        }
    } else {
        (bytes.into(), false)
    };
    let mut answer = respond(StatusCode::OK, content_type, bytes);
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// A document.
pub(crate) async fn document(request: &HeaderMap, encoding: Encoding, value: &Value) -> Response {
    json(request, encoding, value.to_string().into_bytes()).await
}

/// A Status. Never in another form than JSON: every client reads that.
pub(crate) fn failure(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = failure.status().to_string();
    let mut answer = respond(status, "application/json", body.into());
    if let Some(allow) = failure.allow() {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = failure.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut answer = http::Response::new(full(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What one requester sees must not be kept for another.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

fn yaml(json: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&value).map(String::into_bytes).map_err(|error| error.to_string())
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// As the API server has it: gzip is named, and not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = parts
                .filter_map(|part| part.strip_prefix("q="))
                .any(|q| q.parse().is_ok_and(|q: f32| q <= 0.0));
            named && !refused
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        for (header, takes) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(accepts_gzip(&headers), takes, "{header}");
        }
    }
}
