//! Waits until the servers of the control plane are ready.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use super::error::Error;
use super::kubeconfig::KubeconfigFile;
use super::process::{Server, tail};

/// Deadline of a start, many times the duration on an idle machine.
const DEADLINE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until a server accepts connections on the socket.
pub(crate) fn wait_for_socket(server: &mut Server, socket: &Path) -> Result<(), Error> {
    poll(server, || UnixStream::connect(socket).map(drop).map_err(|error| error.to_string()))
}

/// Waits until the API server reports ready, which includes its default roles.
pub(crate) fn wait_for_apiserver(server: &mut Server, admin: &KubeconfigFile) -> Result<(), Error> {
    poll_with_client(server, admin, async |client| {
        let request =
            http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    })
}

/// Waits until a controller has created the default service account, which Pods require.
pub(crate) fn wait_for_controller_manager(
    server: &mut Server,
    admin: &KubeconfigFile,
) -> Result<(), Error> {
    poll_with_client(server, admin, async |client| {
        let accounts = Api::<ServiceAccount>::namespaced(client, "default");
        match accounts.get_opt("default").await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("no service account yet in namespace default".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Polls with a client, in a thread and a runtime of its own.
///
/// A caller inside a runtime must not block that runtime, and other callers have no runtime.
fn poll_with_client(
    server: &mut Server,
    admin: &KubeconfigFile,
    check: impl AsyncFn(Client) -> Result<(), String> + Send,
) -> Result<(), Error> {
    let polling = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start a runtime"))?;
        let client = runtime.block_on(admin.client())?;
        poll(server, || {
            runtime.block_on(async {
                tokio::time::timeout(REQUEST_TIMEOUT, check(client.clone()))
                    .await
                    .unwrap_or_else(|_| Err("request timed out".to_owned()))
            })
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(polling).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn poll(server: &mut Server, mut check: impl FnMut() -> Result<(), String>) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        server.check_running()?;
        match check() {
            Ok(()) => return Ok(()),
            Err(last) if started.elapsed() > DEADLINE => {
                return Err(Error::NotReady {
                    program: server.program,
                    waited: started.elapsed(),
                    last,
                    log: server.log.clone(),
                    tail: tail(&server.log),
                });
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
