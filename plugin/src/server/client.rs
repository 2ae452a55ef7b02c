//! HTTP client of the API server: requests, retries and errors.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    credentials::{Credential, Credentials, TerminalUse},
    request_log::RequestLog,
    source::Discovery,
    transport::Transport,
    warning::WarningWriter,
};
use crate::error::{ApiError, Error, RequestInfo, Status, Verb};

/// Maximum number of retries of a request when the server sends `Retry-After`.
const RETRIES: usize = 5;
/// Upper bound of the wait that `Retry-After` may ask for, in seconds.
const MAX_RETRY_AFTER: u64 = 10;
/// Size limit of a response: more than a page of the largest objects that etcd stores.
const MAX_RESPONSE: usize = 1 << 30;

/// A connection to the API server.
pub struct Server {
    pub(super) transport: Transport,
    pub(super) credentials: Credentials,
    pub(super) host: String,
    /// Describes the source of the credentials, for error messages.
    pub(super) credentials_name: String,
    pub(super) namespace: String,
    pub(super) timeout: Option<Duration>,
    pub(super) log: RequestLog,
    pub(super) warnings: WarningWriter,
    pub(super) discovery: OnceCell<Discovery>,
}

impl Server {
    /// Returns the namespace of commands that name none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Limits how a credential plugin may use the terminal from now on.
    pub fn limit_terminal(&self, terminal: TerminalUse) {
        self.credentials.limit_terminal(terminal);
    }

    /// Returns the end of the time limit of a request that begins now.
    #[must_use]
    pub fn request_deadline(&self) -> Option<Instant> {
        // A limit beyond the range of the clock means no limit.
        self.timeout.and_then(|after| Instant::now().checked_add(after))
    }

    /// Sends the warnings of later responses to a receiver instead of standard error.
    pub fn redirect_warnings(&self, receiver: impl Fn(String) + Send + Sync + 'static) {
        self.warnings.redirect(receiver);
    }

    /// Sends a request and returns the parsed response, retrying as the server asks.
    ///
    /// Prints the warnings of the server. The time limit of requests includes all retries.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        info: &RequestInfo,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        // A plugin may wait for its user, which is no delay of the server.
        self.credentials.current().await?;
        let deadline = self.request_deadline();
        let mut retries = RETRIES;
        loop {
            // The future would make every future around it too large for the stack.
            let exchange = Box::pin(self.send(method.clone(), path, body));
            let (status, headers, bytes) = self.within(deadline, exchange).await?;
            if status.is_success() {
                return serde_json::from_slice(bytes.as_ref()).map_err(|error| Error::Unexpected {
                    host: self.host.clone(),
                    what: unexpected_json(&error),
                });
            }
            let is_retriable = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let retry_after: Option<u64> = headers
                .get(header::RETRY_AFTER)
                .filter(|_| is_retriable)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let delay =
                retry_after.map(|seconds| Duration::from_secs(seconds.min(MAX_RETRY_AFTER)));
            let is_in_time =
                |delay: Duration| deadline.is_none_or(|deadline| Instant::now() + delay < deadline);
            if let (Some(delay), 1..) = (delay.filter(|delay| is_in_time(*delay)), retries) {
                tokio::time::sleep(delay).await;
                retries -= 1;
                continue;
            }
            let failure = Status::read(status.as_u16(), bytes.as_ref());
            return Err(self.api_error(info.clone(), failure));
        }
    }

    /// Builds the error of a request that the server rejected.
    pub(super) fn api_error(&self, info: RequestInfo, failure: Status) -> Error {
        let reads = matches!(info.verb, Verb::Get | Verb::List | Verb::Watch);
        let unavailable = self.discovery.get().and_then(Discovery::unavailable_reason);
        Error::Api(Box::new(ApiError {
            host: self.host.clone(),
            credentials: self.credentials_name.clone(),
            request: info,
            status: failure,
            trackers_unavailable: unavailable.filter(|_| reads).map(ToOwned::to_owned),
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
            .body(Bytes::from(content))
            .map_err(|error| Error::setup(format!("cannot request {path}: {error}")))?;
        let credential = self.credentials.current().await?;
        let exchange = async {
            let response = Box::pin(self.exchange(request, credential)).await?;
            let (head, body) = response.into_parts();
            self.warnings.write(&head.headers);
            self.log.log_response(&verb, path, head.status, &head.headers, start.elapsed());
            let body = Limited::new(body, MAX_RESPONSE).collect().await;
            let bytes = body.map_err(|error| self.transport.error(error.as_ref()))?.to_bytes();
            self.log.log_response_body(&bytes);
            Ok((head.status, head.headers, bytes))
        };
        exchange.await
    }

    /// Returns the result of requests within a time limit, or that of the flags if it is shorter.
    pub async fn limited<T>(
        &self,
        limit: Duration,
        requests: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // A plugin may wait for its user, which is no delay of the server.
        self.credentials.current().await?;
        let after = self.timeout.map_or(limit, |timeout| timeout.min(limit));
        tokio::time::timeout(after, requests)
            .await
            .map_err(|_| Error::Timeout { host: self.host.clone(), after })?
    }

    /// Returns the result of an exchange, or an error at the end of the time limit.
    pub(super) async fn within<T>(
        &self,
        deadline: Option<Instant>,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match deadline.zip(self.timeout) {
            Some((deadline, after)) => tokio::time::timeout_at(deadline.into(), exchange)
                .await
                .map_err(|_| Error::Timeout { host: self.host.clone(), after })?,
            None => exchange.await,
        }
    }

    /// Sends a request with a credential. If the server rejects the credential and there is another,
    /// sends the request once more.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        credential: Arc<Credential>,
    ) -> Result<Response<Incoming>, Error> {
        let response = self.send_with(request.clone(), &credential).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.credentials.renew(&credential).await? {
            Some(renewed) => {
                self.log.log(6, "The server rejected the credentials: retrying with others");
                self.send_with(request, &renewed).await
            }
            None => Ok(response),
        }
    }

    async fn send_with(
        &self,
        mut request: Request<Bytes>,
        credential: &Credential,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(value) = &credential.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        self.transport.send(request, credential.identity.as_ref()).await
    }

    /// Opens a stream, which has no time limit.
    pub(super) async fn open(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        let credential = self.credentials.current().await?;
        Box::pin(self.exchange(request, credential)).await
    }
}

/// Describes why a response cannot be parsed, without the words of the parser.
pub(super) fn unexpected_json(error: &serde_json::Error) -> String {
    if error.is_data() { "it has another form" } else { "it is not JSON" }.to_owned()
}
