//! Requests and answers.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Server, connect, warning};
use crate::error::{ApiError, Error, RequestInfo, Status};

/// How often a request is sent again that the server asks to send again, and how long it may ask
/// to wait.
const RETRIES: usize = 5;
const LONGEST_WAIT: u64 = 10;
/// The largest answer that is read: more than a page of the largest objects that etcd stores.
const LARGEST: usize = 1 << 30;

impl Server {
    /// Sends a request, again if the server asks for it; a failure that it answers is an error.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        asked: &RequestInfo,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let (answer, _) = self.request_warned(asked, method, path, body).await?;
        Ok(answer)
    }

    /// The same, with what the server warns of.
    pub(super) async fn request_warned<T: DeserializeOwned>(
        &self,
        asked: &RequestInfo,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(T, Vec<String>), Error> {
        let mut retries = RETRIES;
        loop {
            let (status, headers, bytes) = self.answer(method.clone(), path, body).await?;
            if status.is_success() {
                let answer = serde_json::from_slice(bytes.as_ref()).map_err(|error| {
                    Error::Unexpected { host: self.host.clone(), what: error.to_string() }
                })?;
                return Ok((answer, warning::texts(&headers)));
            }
            let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let wait: Option<u64> = headers
                .get(header::RETRY_AFTER)
                .filter(|_| busy)
                .and_then(|wait| wait.to_str().ok()?.parse().ok());
            if let (Some(wait), 1..) = (wait, retries) {
                tokio::time::sleep(Duration::from_secs(wait.min(LONGEST_WAIT))).await;
                retries -= 1;
                continue;
            }
            return Err(self.refused(asked.clone(), Status::read(status.as_u16(), bytes.as_ref())));
        }
    }

    /// What the server refused, as an error.
    pub(super) fn refused(&self, asked: RequestInfo, failure: Status) -> Error {
        Error::Api(Box::new(ApiError {
            host: self.host.clone(),
            credentials: self.credentials.clone(),
            asked,
            status: failure,
        }))
    }

    /// Sends a request once: the status, the headers and the body of the answer.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, HeaderMap, impl AsRef<[u8]> + use<>), Error> {
        let content = body.map(Value::to_string).unwrap_or_default();
        self.log.request(&method, path, &content);
        let sent = Instant::now();
        let verb = method.clone();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(content.into_bytes()))
            .map_err(|error| Error::setup(format!("cannot ask for {path}: {error}")))?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let (head, body) = response.into_parts();
            self.log.response(&verb, path, head.status, &head.headers, sent.elapsed());
            let bytes = Limited::new(body, LARGEST)
                .collect()
                .await
                .map_err(kube::Error::Service)?
                .to_bytes();
            self.log.answer(&bytes);
            Ok((head.status, head.headers, bytes))
        };
        let answer = match self.timeout {
            Some(after) => tokio::time::timeout(after, exchange)
                .await
                .map_err(|_| Error::Timeout { host: self.host.clone(), after })?,
            None => exchange.await,
        };
        answer.map_err(|error: kube::Error| connect::failed(&self.host, &error))
    }
}

/// The text as one segment of a path, or one value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String doesn't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
