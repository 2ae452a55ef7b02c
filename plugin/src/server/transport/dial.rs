//! TCP connections, directly or through a proxy.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::tls::ServerVerification;
use crate::error::{Error, ProxyFailure};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Tcp = TokioIo<TcpStream>;
type Stream = MaybeHttpsStream<Tcp>;
type FailureSlot = Arc<Mutex<Option<BoxError>>>;

/// Interval of TCP keep-alive probes, as in Go.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Connector for the server, or for its proxy.
#[derive(Clone)]
pub(super) struct Dial {
    route: Route,
    /// Address of the proxy without credentials, for error messages.
    proxy: Option<Arc<str>>,
    timeout: Duration,
}

#[derive(Clone)]
enum Route {
    Direct(TcpConnector),
    Tunnel(Tunnel<TcpConnector>),
    TlsTunnel(Tunnel<HttpsConnector<TcpConnector>>),
    Socks(SocksV5<TcpConnector>, FailureSlot),
}

impl Dial {
    /// Creates a connector.
    ///
    /// # Errors
    /// Fails if the proxy's scheme is not supported.
    pub(super) fn new(proxy: Option<&Uri>, timeout: Duration) -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        http.set_connect_timeout(Some(timeout));
        let tcp = TcpConnector { http, failure: None };
        let Some(proxy) = proxy else {
            return Ok(Self { route: Route::Direct(tcp), proxy: None, timeout });
        };
        let (user_info, address) = split_credentials(proxy);
        let route = match proxy.scheme_str() {
            Some("http") => Route::Tunnel(tunnel(address.clone(), tcp, user_info.as_deref())),
            Some("https") => {
                let config = ServerVerification::System.client_config(None)?;
                let https = HttpsConnectorBuilder::new()
                    .with_tls_config(config)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp);
                Route::TlsTunnel(tunnel(address.clone(), https, user_info.as_deref()))
            }
            Some("socks5" | "socks5h") => {
                let slot = FailureSlot::default();
                let tcp = TcpConnector { failure: Some(Arc::clone(&slot)), ..tcp };
                let mut socks = SocksV5::new(address.clone(), tcp);
                if let Some(user_info) = user_info {
                    let (user, password) = user_info.split_once(':').unwrap_or((&user_info, ""));
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                Route::Socks(socks, slot)
            }
            _ => {
                return Err(Error::setup(
                    "unsupported proxy address: it must begin with http://, https:// or socks5:// in proxy-url or HTTPS_PROXY",
                ));
            }
        };
        let shown = address.to_string().trim_end_matches('/').into();
        Ok(Self { route, proxy: Some(shown), timeout })
    }
}

/// Splits the decoded credentials from the address of a proxy.
fn split_credentials(proxy: &Uri) -> (Option<String>, Uri) {
    let Some((user_info, host)) = proxy.authority().and_then(|all| all.as_str().rsplit_once('@'))
    else {
        return (None, proxy.clone());
    };
    let mut parts = proxy.clone().into_parts();
    parts.authority = host.parse().ok();
    let address = Uri::from_parts(parts).unwrap_or_else(|_| proxy.clone());
    (Some(percent_decode(user_info)), address)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tunnel<C>(proxy: Uri, connector: C, user_info: Option<&str>) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy, connector);
    let value = user_info.map(|info| format!("Basic {}", STANDARD.encode(info)));
    match value.and_then(|value| HeaderValue::from_str(&value).ok()) {
        Some(mut value) => {
            value.set_sensitive(true);
            tunnel.with_auth(value)
        }
        None => tunnel,
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The future waits until the route is ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Self { route, proxy, timeout } = self.clone();
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return route.connect(target).await;
            };
            // A proxy may accept a connection and answer nothing.
            let connected = tokio::time::timeout(timeout * 2, route.connect(target)).await;
            let connected =
                connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            connected.map_err(|source| ProxyFailure::new(&proxy, source).into())
        })
    }
}

impl Route {
    async fn connect(self, target: Uri) -> Result<Stream, BoxError> {
        match self {
            Self::Direct(tcp) => tcp.oneshot(target).await.map(Stream::Http),
            Self::Tunnel(tunnel) => Ok(Stream::Http(tunnel.oneshot(target).await?)),
            Self::TlsTunnel(tunnel) => Ok(tunnel.oneshot(target).await?),
            Self::Socks(socks, failure) => {
                socks.oneshot(target).await.map(Stream::Http).map_err(|error| {
                    failure
                        .lock()
                        .ok()
                        .and_then(|mut slot| slot.take())
                        .unwrap_or_else(|| error.into())
                })
            }
        }
    }
}

/// TCP connector that stores its error, because the SOCKS connector drops it.
#[derive(Clone)]
struct TcpConnector {
    http: HttpConnector,
    failure: Option<FailureSlot>,
}

impl Service<Uri> for TcpConnector {
    type Response = Tcp;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Tcp, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.http.call(target);
        let failure = self.failure.clone();
        Box::pin(async move {
            let error = match connecting.await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let Some(slot) = failure else {
                return Err(error.into());
            };
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(error.into());
            }
            Err(io::Error::other("the proxy is unreachable").into())
        })
    }
}
