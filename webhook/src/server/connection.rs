//! One connection: its handshake, its requests, and the reasons to end it.

use std::{convert::Infallible, pin::pin, sync::Arc};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use mirrord_sessions_core::server::Peer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Duration, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{
    Handler, Server, activity::Activity, client_certificates::PeerCertificates,
    connection_table::Slot,
};

/// Limit of concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit of the bytes of all headers. The aggregator sends every group of a user as a header.
const MAX_HEADERS: u32 = 256 << 10;
const MAX_HEADER_COUNT: usize = 4096;
/// Limit of the bytes that an HTTP/1.1 connection buffers. API servers use HTTP/2.
const HTTP1_BUFFER: usize = 128 << 10;
/// Limit of the bytes of a body that arrive before they are read: these are in no budget.
const STREAM_WINDOW: u32 = 64 << 10;
/// Limit of such bytes of all bodies of a connection.
pub(super) const CONNECTION_WINDOW: u32 = 64 << 10;

/// The connection of a request, as an extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct ClientConnection {
    /// The address of the client.
    pub(crate) peer: Peer,
    /// The certificates that the client presented.
    pub(crate) certificates: Option<PeerCertificates>,
    activity: Arc<Activity>,
}

impl ClientConnection {
    /// Records whether the client is the front proxy, whose connections are never evicted.
    pub(crate) fn set_trusted(&self, trusted: bool) {
        self.activity.set_trusted(trusted);
    }
}

/// Serves one connection until the peer closes it, it is idle for too long, another connection
/// needs its place, or the server stops.
pub(super) async fn serve<H: Handler>(
    server: Arc<Server<H>>,
    stream: TcpStream,
    mut slot: Slot,
    stopped: watch::Receiver<()>,
) {
    // Without TCP_NODELAY, every small response waits 40 ms for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "could not set TCP_NODELAY");
    }
    let Some(tls) = &server.tls else {
        return serve_http(&server, stream, (false, None), slot, stopped).await;
    };
    let handshake = tokio::select! {
        handshake = accept(tls, stream, server.timeouts.handshake) => handshake,
        () = slot.evicted() => return debug!("TLS handshake took too long"),
    };
    let Some(stream) = handshake else {
        return;
    };
    // ALPN selects the protocol: detecting it from the first bytes would wait for them.
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let certificates = stream.get_ref().1.peer_certificates();
    let certificates = certificates
        .map(|all| all.iter().map(|certificate| certificate.clone().into_owned()).collect());
    serve_http(&server, stream, (is_http2, certificates), slot, stopped).await;
}

async fn accept(
    tls: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Option<TlsStream<TcpStream>> {
    match timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake timed out"),
    }
    None
}

async fn serve_http<H: Handler>(
    server: &Server<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (is_http2, certificates): (bool, Option<PeerCertificates>),
    mut slot: Slot,
    mut stopped: watch::Receiver<()>,
) {
    let (activity, timeouts) = (Arc::clone(&slot.activity), server.timeouts);
    activity.establish();
    let client = Arc::new(ClientConnection {
        peer: slot.peer,
        certificates,
        activity: Arc::clone(&activity),
    });
    let service = {
        let (handler, activity) = (server.handler.clone(), Arc::clone(&activity));
        service_fn(move |mut request: Request<Incoming>| {
            let (handler, in_flight) = (handler.clone(), activity.begin());
            request.extensions_mut().insert(Arc::clone(&client));
            async move {
                let response = handler.handle(request).await;
                // In flight until all of the body is sent: a watch may send nothing for long.
                Ok::<_, Infallible>(response.map(|body| in_flight.until_sent(body)))
            }
        })
    };
    let builder = builder(is_http2, timeouts.header);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let is_evicted = tokio::select! {
        result = connection.as_mut() => return log_connection_error(result),
        () = activity.overdue(timeouts.request) => {
            return debug!("closed a connection whose request took too long");
        }
        () = slot.evicted() => true,
        () = activity.idle_for(timeouts.idle) => false,
        _ = stopped.changed() => false,
    };
    let permit = is_evicted.then(|| slot.closing_permit());
    if let Some(None) = permit {
        return debug!("closed an evicted connection at once");
    }
    // Accept no new request, and finish those in flight.
    connection.as_mut().graceful_shutdown();
    let eviction = async {
        if is_evicted {
            sleep(timeouts.eviction).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = connection => log_connection_error(result),
        () = activity.idle_for(timeouts.shutdown) => debug!("closed a connection that its peer kept open"),
        () = activity.overdue(timeouts.request) => debug!("closed a connection whose request took too long"),
        () = eviction => debug!("closed an evicted connection"),
    }
}

/// Returns the builder of a connection, whose bounds keep its buffers small.
fn builder(is_http2: bool, header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADER_COUNT)
        .max_buf_size(HTTP1_BUFFER)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn log_connection_error(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        debug!(%error, "connection failed");
    }
}
