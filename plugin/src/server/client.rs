//! HTTP client of the API server: requests, retries and errors.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::{AuthError, Body};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{request_log::RequestLog, source::Discovery, warning};
use crate::error::{ApiError, Error, RequestInfo, Status, Transport};

/// Maximum number of retries of a request when the server sends `Retry-After`.
const RETRIES: usize = 5;
/// Upper bound of the wait that `Retry-After` may ask for, in seconds.
const MAX_RETRY_AFTER: u64 = 10;
/// Size limit of a response: more than a page of the largest objects that etcd stores.
const MAX_RESPONSE: usize = 1 << 30;

/// A connection to the API server.
pub struct Server {
    pub(super) client: kube::Client,
    pub(super) host: String,
    /// Describes the source of the credentials, for error messages.
    pub(super) credentials: String,
    pub(super) namespace: String,
    pub(super) timeout: Option<Duration>,
    pub(super) log: RequestLog,
    pub(super) discovery: OnceCell<Discovery>,
}

impl Server {
    /// Returns the namespace of commands that name none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Sends a request and returns the parsed response, retrying as the server asks.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        info: &RequestInfo,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let (response, _) = self.request_with_warnings(info, method, path, body).await?;
        Ok(response)
    }

    /// Sends a request and returns the parsed response with the server's warnings.
    pub(super) async fn request_with_warnings<T: DeserializeOwned>(
        &self,
        info: &RequestInfo,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(T, Vec<String>), Error> {
        let mut retries = RETRIES;
        loop {
            let (status, headers, bytes) = self.send(method.clone(), path, body).await?;
            if status.is_success() {
                let response = serde_json::from_slice(bytes.as_ref()).map_err(|error| {
                    Error::Unexpected { host: self.host.clone(), what: error.to_string() }
                })?;
                return Ok((response, warning::parse_headers(&headers)));
            }
            let is_retriable = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let retry_after: Option<u64> = headers
                .get(header::RETRY_AFTER)
                .filter(|_| is_retriable)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            if let (Some(seconds), 1..) = (retry_after, retries) {
                tokio::time::sleep(Duration::from_secs(seconds.min(MAX_RETRY_AFTER))).await;
                retries -= 1;
                continue;
            }
            let failure = Status::read(status.as_u16(), bytes.as_ref());
            return Err(self.api_error(info.clone(), failure));
        }
    }

    /// Builds the error of a request that the server rejected.
    pub(super) fn api_error(&self, info: RequestInfo, failure: Status) -> Error {
        Error::Api(Box::new(ApiError {
            host: self.host.clone(),
            credentials: self.credentials.clone(),
            request: info,
            status: failure,
        }))
    }

    /// Sends a request once and returns the status, headers and body of the response.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, HeaderMap, impl AsRef<[u8]> + use<>), Error> {
        let content = body.map(Value::to_string).unwrap_or_default();
        self.log.log_request(&method, path, &content);
        let start = Instant::now();
        let verb = method.clone();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(content.into_bytes()))
            .map_err(|error| Error::setup(format!("cannot request {path}: {error}")))?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let (head, body) = response.into_parts();
            self.log.log_response(&verb, path, head.status, &head.headers, start.elapsed());
            let bytes = Limited::new(body, MAX_RESPONSE)
                .collect()
                .await
                .map_err(kube::Error::Service)?
                .to_bytes();
            self.log.log_response_body(&bytes);
            Ok((head.status, head.headers, bytes))
        };
        let response = match self.timeout {
            Some(after) => tokio::time::timeout(after, exchange)
                .await
                .map_err(|_| Error::Timeout { host: self.host.clone(), after })?,
            None => exchange.await,
        };
        response.map_err(|error: kube::Error| client_error(&self.host, &error))
    }
}

/// Converts an error of the kube client, without the layers that wrap it.
pub(super) fn client_error(host: &str, error: &kube::Error) -> Error {
    if let kube::Error::Auth(error) = error {
        return Error::setup(auth_error(error));
    }
    match error {
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            Error::Transport(Transport::from_error(host, error))
        }
        other => Error::setup(format!("the kubeconfig cannot be used: {other}")),
    }
}

fn auth_error(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(error) => format!(
            "cannot run the credential plugin of the kubeconfig: {error}: install it, or check \"exec\" in the kubeconfig"
        ),
        AuthError::AuthExecRun { cmd, out } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("the credential plugin {cmd} failed ({}) {last}", out.status)
        }
        other => format!("the credentials of the kubeconfig cannot be used: {other}"),
    }
}
