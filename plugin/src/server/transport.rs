//! Connections to the API server: proxy, TLS and HTTP.

mod dial;
mod tls;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::Connection},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::sync::Mutex;
use tower::Service;

use self::dial::Dial;
pub(super) use self::tls::{ServerVerification, load_authority};
use super::credentials::Identity;
use crate::error::{Error, Transport as TransportError};

type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, legacy::Error>> + Send>>;
type Client = Arc<dyn Fn(Request<Full<Bytes>>) -> ResponseFuture + Send + Sync>;

/// Address of an API server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) url: Uri,
    /// Host and port, for error messages.
    pub(super) host: String,
}

/// Connections of a command, which share one pool.
pub(super) struct Transport {
    address: Address,
    /// Headers of every request.
    headers: HeaderMap,
    verification: Option<ServerVerification>,
    server_name: Option<ServerName<'static>>,
    proxy: Option<Uri>,
    connect_timeout: Duration,
    client: Mutex<Option<(Option<Arc<Identity>>, Client)>>,
}

impl Transport {
    /// Creates a transport without connecting. Servers without TLS need no verification.
    ///
    /// # Errors
    /// Fails if the server name is invalid.
    pub(super) fn new(
        address: Address,
        headers: HeaderMap,
        verification: Option<ServerVerification>,
        server_name: Option<&str>,
        proxy: Option<Uri>,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let parse = |name: &str| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                Error::setup(format!(
                    "\"{name}\" is not a server name: check tls-server-name in the kubeconfig, or --tls-server-name"
                ))
            })
        };
        let server_name = server_name.map(parse).transpose()?;
        let client = Mutex::default();
        Ok(Self { address, headers, verification, server_name, proxy, connect_timeout, client })
    }

    /// Prepares the TLS settings for a client certificate, to report faults before a request.
    ///
    /// # Errors
    /// Fails if the settings are invalid.
    pub(super) async fn prepare(&self, identity: Option<&Arc<Identity>>) -> Result<(), Error> {
        self.client(identity).await.map(|_| ())
    }

    /// Sends a request with a client certificate, if there is one.
    ///
    /// # Errors
    /// Fails if the server is unreachable, or the connection fails.
    pub(super) async fn send(
        &self,
        mut request: Request<Bytes>,
        identity: Option<&Arc<Identity>>,
    ) -> Result<Response<Incoming>, Error> {
        let client = self.client(identity).await?;
        *request.uri_mut() = join(&self.address.url, request.uri());
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        client(request.map(Full::new)).await.map_err(|error| self.error(&error))
    }

    /// Describes a failed connection.
    pub(super) fn error(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        Error::Transport(TransportError::from_error(&self.address.host, error))
    }

    /// Returns the client of a client certificate. Connections are bound to their certificate, so
    /// another certificate replaces the pool.
    async fn client(&self, identity: Option<&Arc<Identity>>) -> Result<Client, Error> {
        let mut current = self.client.lock().await;
        if let Some((known, client)) = &*current
            && known.as_ref() == identity
        {
            return Ok(Arc::clone(client));
        }
        let client = self.build(identity)?;
        *current = Some((identity.cloned(), Arc::clone(&client)));
        Ok(client)
    }

    fn build(&self, identity: Option<&Arc<Identity>>) -> Result<Client, Error> {
        let dial = Dial::new(self.proxy.as_ref(), self.connect_timeout)?;
        let Some(verification) = &self.verification else {
            return Ok(client(dial));
        };
        let config = verification.client_config(identity.map(AsRef::as_ref))?;
        Ok(client(self.https(config, dial)))
    }

    fn https(&self, config: ClientConfig, dial: Dial) -> HttpsConnector<Dial> {
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        if let Some(name) = &self.server_name {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
        }
        builder.enable_http1().wrap_connector(dial)
    }
}

fn client<C>(connector: C) -> Client
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + Unpin + 'static,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    Arc::new(move |request| Box::pin(client.request(request)))
}

impl Address {
    /// Parses the address of a server, as client-go does: a host and port without scheme use TLS if
    /// the kubeconfig says how to verify it.
    ///
    /// # Errors
    /// Fails if the text is not an address.
    pub(super) fn parse(server: &str, has_tls_settings: bool) -> Result<Self, Error> {
        let invalid = || {
            Error::setup(format!(
                "\"{server}\" is not the address of a server: expected https://HOST:PORT in the kubeconfig or --server"
            ))
        };
        let scheme = if has_tls_settings { "https" } else { "http" };
        let text = match server.split_once("://") {
            Some(_) => server.to_owned(),
            // Without scheme, a path is invalid.
            None if server.trim_end_matches('/').contains('/') => return Err(invalid()),
            None => format!("{scheme}://{server}"),
        };
        // A query or fragment has no meaning here.
        let text = text.split(['?', '#']).next().unwrap_or_default();
        let url: Uri = text.parse().map_err(|_| invalid())?;
        let authority = url.authority().ok_or_else(invalid)?.as_str();
        // Credentials in the address must not be shown.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned();
        if !matches!(url.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(invalid());
        }
        let mut parts = url.clone().into_parts();
        parts.authority = Some(host.parse().map_err(|_| invalid())?);
        Ok(Self { url: Uri::from_parts(parts).map_err(|_| invalid())?, host })
    }

    /// Returns whether connections use TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// Returns whether the server is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

/// Joins a base URL, which may have a path, and the path of a request.
fn join(base: &Uri, request: &Uri) -> Uri {
    let path = request.path_and_query().map_or("/", PathAndQuery::as_str);
    let joined = format!("{}{path}", base.path().trim_end_matches('/'));
    let mut parts = base.clone().into_parts();
    // Both parts were parsed, and so is their concatenation.
    parts.path_and_query = joined.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| base.clone())
}

#[cfg(test)]
mod tests;
