//! Server: accepts connections within bounds of number and time, and drains them on shutdown.

mod activity;
pub(crate) mod body;
pub(crate) mod client_certificates;
mod connection;
mod connection_table;
pub(crate) mod health;
pub(crate) mod response;

use std::{pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::body::Incoming;
use mirrord_sessions_core::server::{Peer, connections::ConnectionLimits};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

pub(crate) use connection::ClientConnection;
pub(crate) use connection_table::ConnectionCounters;
use connection_table::ConnectionTable;
use response::Response;

/// Responds to the requests that the server accepts.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Responds to one request.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response> + Send;
}

/// Bounds of the connections of the API server and of any other client.
///
/// An API server holds about ten connections, several API servers may share an address, and each
/// 256 watches take another one. The sum stays below the usual limit of 1,024 open files.
pub(crate) const API_CONNECTIONS: ConnectionLimits = ConnectionLimits {
    total: 512,
    per_peer: 256,
    handshakes_per_peer: 64,
    handshake_grace: Duration::from_secs(3),
    busy_grace: Duration::from_secs(1),
};

/// Memory of a connection beside its window: TLS, buffers and tasks.
#[cfg(test)]
const CONNECTION: usize = 32 << 10;

/// The memory of all connections in bytes at most.
#[cfg(test)]
pub(crate) const CONNECTION_BUDGET: usize =
    API_CONNECTIONS.total * (CONNECTION + connection::CONNECTION_WINDOW as usize);

/// Bounds of the connections of probes. The kubelet opens one for each probe.
pub(crate) const PROBE_CONNECTIONS: ConnectionLimits = ConnectionLimits {
    total: 64,
    per_peer: 32,
    handshakes_per_peer: 32,
    handshake_grace: Duration::from_secs(3),
    busy_grace: Duration::from_millis(100),
};

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Limit for the TLS handshake.
    pub(crate) handshake: Duration,
    /// Limit for the head of an HTTP/1.1 request.
    pub(crate) header: Duration,
    /// Limit for a request until its response is sent, except those of the front proxy.
    pub(crate) request: Duration,
    /// Limit without a request. An API server opens another connection when it needs one.
    pub(crate) idle: Duration,
    /// Limit for the peer to close the connection after a graceful shutdown began.
    pub(crate) shutdown: Duration,
    /// Limit for an evicted connection to finish its requests.
    pub(crate) eviction: Duration,
}

impl Timeouts {
    /// The time limits of the API server. It waits for a webhook for at most 30 s.
    pub(crate) const API: Self = Self {
        handshake: Duration::from_secs(5),
        header: Duration::from_secs(10),
        request: Duration::from_secs(30),
        idle: Duration::from_mins(1),
        shutdown: Duration::from_secs(5),
        eviction: Duration::from_secs(5),
    };

    /// The time limits of probes.
    pub(crate) const PROBES: Self = Self {
        handshake: Duration::from_secs(5),
        header: Duration::from_secs(5),
        request: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        shutdown: Duration::from_secs(1),
        eviction: Duration::from_secs(1),
    };
}

/// A server of one listener.
pub(crate) struct Server<H> {
    handler: H,
    /// Serves plain HTTP without TLS.
    tls: Option<TlsAcceptor>,
    timeouts: Timeouts,
    connections: Arc<ConnectionTable>,
}

impl<H: Handler> Server<H> {
    /// Creates a server of HTTPS, for the API server.
    pub(crate) fn https(
        handler: H,
        tls: Arc<rustls::ServerConfig>,
        counters: ConnectionCounters,
    ) -> Self {
        Self {
            handler,
            tls: Some(TlsAcceptor::from(tls)),
            timeouts: Timeouts::API,
            connections: ConnectionTable::new(API_CONNECTIONS, counters),
        }
    }

    /// Creates a server of plain HTTP, for probes.
    pub(crate) fn probes(handler: H) -> Self {
        Self {
            handler,
            tls: None,
            timeouts: Timeouts::PROBES,
            connections: ConnectionTable::new(PROBE_CONNECTIONS, ConnectionCounters::default()),
        }
    }

    /// Serves until `stop` completes, then drains requests in flight for at most `drain`.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) {
        let server = Arc::new(self);
        let (stopping, stopped) = watch::channel(());
        let mut stop = pin!(stop);
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let peer = Peer::from_address(address.ip());
                    // A refused connection is closed before it costs a handshake.
                    if let Some(slot) = server.connections.admit(peer) {
                        let server = Arc::clone(&server);
                        tasks.spawn(connection::serve(server, stream, slot, stopped.clone()));
                    }
                }
                Err(error) => {
                    // Most likely out of file descriptors: wait instead of spinning.
                    warn!(%error, "could not accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        info!(open = server.connections.len(), "draining");
        drop(stopping);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if timeout(drain, drained).await.is_err() {
            warn!(seconds = drain.as_secs(), "some connections did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::{
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
        sign::{CertifiedKey, SingleCertAndKey},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
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
        let mut server = Server::https(Ok200, tls, ConnectionCounters::default());
        server.timeouts = Timeouts {
            handshake: short,
            header: short,
            request: short,
            idle: short,
            shutdown: short,
            eviction: short,
        };
        tokio::spawn(server.serve(listener, std::future::pending(), short));
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
