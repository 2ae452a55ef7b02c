//! The HTTPS server: accepts, bounds, drains.

mod activity;
pub(crate) mod body;
pub(crate) mod health;
pub(crate) mod router;

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

use crate::apiserver::front_proxy::PeerCertificates;
use activity::Activity;
use router::Router;

/// Connections at once. An API server holds one or two; the rest is for probes and for mistakes.
const MAX_CONNECTIONS: u32 = 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The aggregator names every group of a user in a header of its own.
const MAX_HEADERS: u32 = 256 << 10;
const MAX_HEADER_COUNT: usize = 4096;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The TLS handshake.
    pub(crate) handshake: Duration,
    /// The head of an HTTP/1.1 request.
    pub(crate) header: Duration,
    /// Asking nothing. An API server opens another connection when it needs one.
    pub(crate) idle: Duration,
    /// Ending, when it was told that no more requests are taken.
    pub(crate) goodbye: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            goodbye: Duration::from_secs(5),
        }
    }
}

/// Serves until `stop` is done, then lets the requests that are under way finish, for `drain` at
/// most.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    patience: Patience,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            // The permit first: over the bound, connections wait in the kernel's queue.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, router, stopped) =
                    (acceptor.clone(), router.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(stream, acceptor, router, patience, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: it may pass, and spinning would not help.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let open = MAX_CONNECTIONS as usize - connections.available_permits();
    info!(open, "draining");
    drop(stopping);
    // All permits are back when all connections have ended.
    if timeout(drain, connections.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        warn!(seconds = drain.as_secs(), "some connections did not end in time");
    }
}

/// Serves one connection until the peer ends it, it asks nothing for a while, or the server stops.
async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    patience: Patience,
    mut stopped: watch::Receiver<()>,
) {
    // Without it, every small answer waits 40 ms for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let stream = match timeout(patience.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake timed out"),
    };
    // Told by ALPN: to guess from the first bytes would be to wait for them.
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let peer = stream.get_ref().1.peer_certificates();
    let peer: Option<PeerCertificates> = peer.map(|certificates| {
        let owned = certificates.iter().map(|one| one.clone().into_owned());
        owned.collect()
    });
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |mut request: Request<Incoming>| {
            let (router, under_way) = (router.clone(), activity.begin());
            if let Some(peer) = &peer {
                request.extensions_mut().insert(Arc::clone(peer));
            }
            async move {
                let answer = router.handle(request).await;
                // Until all of it is sent: a watch may be silent for long.
                Ok::<_, Infallible>(answer.map(|body| under_way.until_sent(body)))
            }
        })
    };
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_headers(MAX_HEADER_COUNT)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Until it should end: by the peer, since nothing is asked, or since the server stops.
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = activity.idle_for(patience.idle) => {}
        _ = stopped.changed() => {}
    }
    // Then no new request is taken, and those under way are answered.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => told(ended),
        () = activity.idle_for(patience.goodbye) => debug!("a connection was closed without a goodbye"),
    }
}

fn told(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::{apiserver::Api, certs::CertificateSlot, sessions::Store};

    /// A server that has little patience, and who trusts it.
    async fn impatient() -> (SocketAddr, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let slot = CertificateSlot::new();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        slot.set(vec![certificate.clone()], der.into()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(50);
        let patience = Patience { handshake: short, header: short, idle: short, goodbye: short };
        let trackers = Api::new(Store::new(), Arc::default(), None);
        let router = Router::new(Arc::default(), Arc::default(), trackers);
        let tls = slot.server_config().unwrap();
        tokio::spawn(serve(listener, tls, router, patience, std::future::pending(), short));
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

    /// The peer sends this and then nothing; the server ends the connection.
    async fn ends(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, sent: &[u8]) -> bool {
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // An end without a goodbye of TLS is an end too.
        timeout(Duration::from_secs(20), read).await.is_ok()
    }

    #[tokio::test]
    async fn who_asks_nothing_is_shown_the_door() {
        let (address, trusted) = impatient().await;
        let tcp = TcpStream::connect(address).await.unwrap();
        assert!(ends(tcp, b"").await, "no handshake");
        let tcp = TcpStream::connect(address).await.unwrap();
        assert!(ends(tcp, b"\x16\x03\x01").await, "half a handshake");
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
            assert!(ends(stream, sent).await, "{protocol}: {name}");
        }
    }
}
