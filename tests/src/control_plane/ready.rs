//! Waiting until a server does its work.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use super::error::Error;
use super::kubeconfig::KubeconfigFile;
use super::process::{Server, tail};

/// Many times what an idle machine needs.
const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(30);
const ANSWER: Duration = Duration::from_secs(5);

/// Until somebody listens on the socket.
pub(crate) fn socket(server: &mut Server, socket: &Path) -> Result<(), Error> {
    wait(server, || UnixStream::connect(socket).map(drop).map_err(|error| error.to_string()))
}

/// Until the API server says that it is ready, its default roles included.
pub(crate) fn apiserver(server: &mut Server, admin: &KubeconfigFile) -> Result<(), Error> {
    ask_as(server, admin, async |client| {
        let request =
            http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    })
}

/// Until a controller has done something: Pods can be created once this account exists.
pub(crate) fn controller_manager(server: &mut Server, admin: &KubeconfigFile) -> Result<(), Error> {
    ask_as(server, admin, async |client| {
        let accounts = Api::<ServiceAccount>::namespaced(client, "default");
        match accounts.get_opt("default").await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("no service account yet in namespace default".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// In a thread and a runtime of its own: the caller may have a runtime, which must not be blocked
/// from within, or none.
fn ask_as(
    server: &mut Server,
    admin: &KubeconfigFile,
    ask: impl AsyncFn(Client) -> Result<(), String> + Send,
) -> Result<(), Error> {
    let asking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start a runtime"))?;
        let client = runtime.block_on(admin.client())?;
        wait(server, || {
            runtime.block_on(async {
                tokio::time::timeout(ANSWER, ask(client.clone()))
                    .await
                    .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            })
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(asking).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn wait(server: &mut Server, mut ask: impl FnMut() -> Result<(), String>) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        server.check()?;
        match ask() {
            Ok(()) => return Ok(()),
            Err(last) if since.elapsed() > DEADLINE => {
                return Err(Error::NotReady {
                    program: server.program,
                    waited: since.elapsed(),
                    last,
                    log: server.log.clone(),
                    tail: tail(&server.log),
                });
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
