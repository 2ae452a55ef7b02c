//! HTTPS server: accepts connections within bounds of number and time, and drains them on shutdown.

mod activity;
pub(crate) mod body;
pub(crate) mod client_certificates;
pub(crate) mod health;
pub(crate) mod response;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use activity::Activity;
use client_certificates::PeerCertificates;
use response::Response;

/// Responds to the requests that the server accepts.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Responds to one request.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response> + Send;
}

/// Limit of open connections. An API server holds one or two. The rest is for probes and other
/// clients.
const MAX_CONNECTIONS: u32 = 1024;
/// Limit of concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit of the bytes of all headers. The aggregator sends every group of a user as a header.
const MAX_HEADERS: u32 = 256 << 10;
const MAX_HEADER_COUNT: usize = 4096;

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Limit for the TLS handshake.
    pub(crate) handshake: Duration,
    /// Limit for the head of an HTTP/1.1 request.
    pub(crate) header: Duration,
    /// Limit without a request. An API server opens another connection when it needs one.
    pub(crate) idle: Duration,
    /// Limit for the peer to close the connection after a graceful shutdown began.
    pub(crate) shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// Serves until `stop` completes, then drains requests in flight for at most `drain`.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: H,
    timeouts: Timeouts,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            // Acquire the permit first: over the limit, connections wait in the kernel's queue.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, handler, stopped) =
                    (acceptor.clone(), handler.clone(), stopped.clone());
                tokio::spawn(async move {
                    serve_connection(stream, acceptor, handler, timeouts, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Most likely out of file descriptors: wait instead of spinning.
                warn!(%error, "could not accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let open = MAX_CONNECTIONS as usize - connections.available_permits();
    info!(open, "draining");
    drop(stopping);
    // All permits are available again when all connections have ended.
    if timeout(drain, connections.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        warn!(seconds = drain.as_secs(), "some connections did not end in time");
    }
}

/// Serves one connection until the peer closes it, it is idle for too long, or the server stops.
async fn serve_connection<H: Handler>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    handler: H,
    timeouts: Timeouts,
    mut stopped: watch::Receiver<()>,
) {
    // Without TCP_NODELAY, every small response waits 40 ms for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "could not set TCP_NODELAY");
    }
    let stream = match timeout(timeouts.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake timed out"),
    };
    // ALPN selects the protocol: detecting it from the first bytes would wait for them.
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = stream.get_ref().1.peer_certificates();
    let peer: Option<PeerCertificates> = peer.map(|certificates| {
        let owned = certificates.iter().map(|certificate| certificate.clone().into_owned());
        owned.collect()
    });
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |mut request: Request<Incoming>| {
            let (handler, in_flight) = (handler.clone(), activity.begin());
            if let Some(peer) = &peer {
                request.extensions_mut().insert(Arc::clone(peer));
            }
            async move {
                let response = handler.handle(request).await;
                // In flight until all of the body is sent: a watch may send nothing for long.
                Ok::<_, Infallible>(response.map(|body| in_flight.until_sent(body)))
            }
        })
    };
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_headers(MAX_HEADER_COUNT)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Serve until the peer closes, the idle timeout expires, or the server stops.
    tokio::select! {
        result = connection.as_mut() => return log_connection_error(result),
        () = activity.idle_for(timeouts.idle) => {}
        _ = stopped.changed() => {}
    }
    // Accept no new request, and finish those in flight.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection => log_connection_error(result),
        () = activity.idle_for(timeouts.shutdown) => debug!("closed a connection that its peer kept open"),
    }
}

fn log_connection_error(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        debug!(%error, "connection failed");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::{
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
        sign::{CertifiedKey, SingleCertAndKey},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;

    /// Responds `ok` to every request.
    #[derive(Clone)]
    struct Ok200;

    impl Handler for Ok200 {
        async fn handle(&self, _: Request<Incoming>) -> Response {
            response::text(http::StatusCode::OK, "ok\n")
        }
    }

    /// Starts a server with short timeouts. Returns its address and its certificate.
    async fn start_with_short_timeouts() -> (SocketAddr, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified =
            CertifiedKey::from_der(vec![certificate.clone()], der.into(), &provider).unwrap();
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let tls = client_certificates::server_config(provider, resolver).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(50);
        let timeouts = Timeouts { handshake: short, header: short, idle: short, shutdown: short };
        tokio::spawn(serve(listener, tls, Ok200, timeouts, std::future::pending(), short));
        (address, certificate)
    }

    async fn connect(
        address: SocketAddr,
        trusted: &CertificateDer<'static>,
        protocol: &[u8],
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Returns whether the server closes the connection of a peer that sends only `sent`.
    async fn closes(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, sent: &[u8]) -> bool {
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // An end without close_notify counts too.
        timeout(Duration::from_secs(20), read).await.is_ok()
    }

    #[tokio::test]
    async fn closes_connections_without_requests() {
        let (address, trusted) = start_with_short_timeouts().await;
        let tcp = TcpStream::connect(address).await.unwrap();
        assert!(closes(tcp, b"").await, "no handshake");
        let tcp = TcpStream::connect(address).await.unwrap();
        assert!(closes(tcp, b"\x16\x03\x01").await, "half a handshake");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        for (name, protocol, sent) in [
            ("silent", &b"http/1.1"[..], &b""[..]),
            ("silent", b"h2", b""),
            ("half a head", b"http/1.1", b"GET /livez HT"),
            ("half a preface", b"h2", &preface[..10]),
            ("a preface", b"h2", preface),
            ("settings", b"h2", &settings),
            ("kept alive", b"http/1.1", b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"),
        ] {
            let stream = connect(address, &trusted, protocol).await;
            let protocol = String::from_utf8_lossy(protocol);
            assert!(closes(stream, sent).await, "{protocol}: {name}");
        }
    }
}
