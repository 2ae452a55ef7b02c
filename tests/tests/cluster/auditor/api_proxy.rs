//! Proxy between a webhook process and the API server that holds writes of the auditor role.
//!
//! A test can change the role between the read and the write of a reconcile.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::{Client, client::Body};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::*;

/// HTTP proxy to the API server that forwards writes of the role only on request.
pub(super) struct ApiProxy {
    kubeconfig: PathBuf,
    writes: Arc<RoleWrites>,
    /// Tasks of the proxy, which are aborted on drop.
    _connections: JoinSet<()>,
}

/// Patches of the role that the proxy has received.
struct RoleWrites {
    received: Mutex<usize>,
    released: Semaphore,
    /// Status codes of the responses, in order.
    status_codes: Mutex<Vec<u16>>,
}

impl ApiProxy {
    /// Starts a proxy that authenticates to the API server as the webhook's service account.
    pub(super) async fn start(cluster: &Cluster) -> Self {
        let kubeconfig =
            cluster.plane.service_account_kubeconfig("mirrord-sessions", MANAGER).await.unwrap();
        let client = kubeconfig.client().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": server } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        let path = kubeconfig.path().with_extension("proxy.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let writes = Arc::new(RoleWrites {
            received: Mutex::new(0),
            released: Semaphore::new(0),
            status_codes: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        connections.spawn(serve(listener, client, Arc::clone(&writes)));
        Self { kubeconfig: path, writes, _connections: connections }
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits until the proxy has received a total number of writes.
    pub(super) async fn wait_for_writes(&self, writes: usize) {
        eventually("the proxy receives a write of the role", || async {
            (*self.writes.received.lock().unwrap() >= writes).then_some(())
        })
        .await;
    }

    /// Forwards one more write.
    pub(super) fn release_write(&self) {
        self.writes.released.add_permits(1);
    }

    /// Returns the status codes of the forwarded writes, in order.
    pub(super) fn status_codes(&self) -> Vec<u16> {
        self.writes.status_codes.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, client: Client, writes: Arc<RoleWrites>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (client, writes) = (client.clone(), Arc::clone(&writes));
        connections.spawn(async move {
            let service = service_fn(|request| {
                let (client, writes) = (client.clone(), Arc::clone(&writes));
                async move { Ok::<_, Infallible>(handle(request, client, &writes).await) }
            });
            // The client closes its connections abruptly when its process ends.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type ProxyResponse = Response<Either<Body, Full<bytes::Bytes>>>;

async fn handle(request: Request<Incoming>, client: Client, writes: &RoleWrites) -> ProxyResponse {
    let is_role_write =
        request.method() == Method::PATCH && request.uri().path().ends_with(&format!("/{ROLE}"));
    if is_role_write {
        *writes.received.lock().unwrap() += 1;
        writes.released.acquire().await.unwrap().forget();
    }
    let response = forward(request, client).await;
    if is_role_write {
        let code = response.status().as_u16();
        writes.status_codes.lock().unwrap().push(code);
    }
    response
}

async fn forward(request: Request<Incoming>, client: Client) -> ProxyResponse {
    let (mut head, body) = request.into_parts();
    let bad_gateway = |error: String| {
        let mut response = Response::new(Either::Right(Full::from(error)));
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        response
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return bad_gateway(error.to_string()),
    };
    // Hop-by-hop headers must not be forwarded.
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap();
    head.version = http::Version::default();
    let request = Request::from_parts(head, Body::from(body.to_vec()));
    match client.send(request).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            head.version = http::Version::default();
            Response::from_parts(head, Either::Left(body))
        }
        Err(error) => bad_gateway(error.to_string()),
    }
}
