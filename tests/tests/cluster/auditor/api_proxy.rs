//! Stands between a process and the API server: passes everything on, and holds what writes the
//! role until it is let go. What happens between reading and writing can be made to happen so.

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

/// A way to the API server that a process is given.
pub(super) struct ApiProxy {
    kubeconfig: PathBuf,
    role: Arc<Held>,
    /// Ends with this.
    _connections: JoinSet<()>,
}

/// The writes of the role.
struct Held {
    arrived: Mutex<usize>,
    let_go: Semaphore,
    /// Status codes, in order.
    answers: Mutex<Vec<u16>>,
}

impl ApiProxy {
    /// Leads to the API server under the process' own service account.
    pub(super) async fn start(cluster: &Cluster) -> Self {
        let kubeconfig =
            cluster.plane.service_account_kubeconfig("mirrord-sessions", MANAGER).await.unwrap();
        let client = kubeconfig.client().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "between",
            "clusters": [{ "name": "between", "cluster": { "server": server } }],
            "users": [{ "name": "between", "user": {} }],
            "contexts": [{ "name": "between", "context": { "cluster": "between", "user": "between" } }],
        });
        let path = kubeconfig.path().with_extension("proxy.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let role = Arc::new(Held {
            arrived: Mutex::new(0),
            let_go: Semaphore::new(0),
            answers: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        connections.spawn(serve(listener, client, Arc::clone(&role)));
        Self { kubeconfig: path, role, _connections: connections }
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits until so many writes have come, from the first on; those not let go are held.
    pub(super) async fn wait_for_writes(&self, writes: usize) {
        eventually("the process writes the role", || async {
            (*self.role.arrived.lock().unwrap() >= writes).then_some(())
        })
        .await;
    }

    /// Lets one more write go.
    pub(super) fn release_write(&self) {
        self.role.let_go.add_permits(1);
    }

    /// What the API server answered to the writes.
    pub(super) fn status_codes(&self) -> Vec<u16> {
        self.role.answers.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, client: Client, role: Arc<Held>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (client, role) = (client.clone(), Arc::clone(&role));
        connections.spawn(async move {
            let service = service_fn(|request| {
                let (client, role) = (client.clone(), Arc::clone(&role));
                async move { Ok::<_, Infallible>(pass_on(request, client, &role).await) }
            });
            // A process that ends breaks its connections.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Answer = Response<Either<Body, Full<bytes::Bytes>>>;

async fn pass_on(request: Request<Incoming>, client: Client, role: &Held) -> Answer {
    let writes =
        request.method() == Method::PATCH && request.uri().path().ends_with(&format!("/{ROLE}"));
    if writes {
        *role.arrived.lock().unwrap() += 1;
        role.let_go.acquire().await.unwrap().forget();
    }
    let answer = forward(request, client).await;
    if writes {
        let code = answer.status().as_u16();
        role.answers.lock().unwrap().push(code);
    }
    answer
}

async fn forward(request: Request<Incoming>, client: Client) -> Answer {
    let (mut head, body) = request.into_parts();
    let broken = |error: String| {
        let mut answer = Response::new(Either::Right(Full::from(error)));
        *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
        answer
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return broken(error.to_string()),
    };
    // What belongs to a connection doesn't go on to the next.
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap();
    head.version = http::Version::default();
    let request = Request::from_parts(head, Body::from(body.to_vec()));
    match client.send(request).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            head.version = http::Version::default();
            Response::from_parts(head, Either::Left(body))
        }
        Err(error) => broken(error.to_string()),
    }
}
