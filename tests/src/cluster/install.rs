//! Installing the manifests, as an administrator would with kubectl.

use std::time::{Duration, Instant};

use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::{Value, json};

use super::{Error, build::workspace};
use crate::control_plane::{ControlPlane, KubectlOutput};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Applies the CRDs and everything of the manifests but what leads to the webhook, and waits until
/// the guard policy is in force.
pub(super) async fn base(plane: &ControlPlane) -> Result<(), Error> {
    let crds = workspace().join("crds");
    kubectl(plane, &["apply", "-f", &crds.to_string_lossy()], "").await?;
    kubectl(
        plane,
        &["wait", "--for=condition=Established", "crd", mirrord_sessions_crds::SESSIONS],
        "",
    )
    .await?;
    let objects = rendered(plane).await?;
    let objects = objects
        .into_iter()
        .filter(|object| !is_webhook_configuration(object) && !is_api_service(object));
    apply(plane, objects.collect()).await?;
    wait_until_guarded(plane).await
}

/// Leads the webhook configuration and the APIService to a process on this loopback port: through
/// its Service, so that names and certificates are those of a real cluster.
pub(super) async fn route_webhook(plane: &ControlPlane, port: u16) -> Result<(), Error> {
    let objects = rendered(plane).await?;
    let objects =
        objects.into_iter().filter_map(|object| on_loopback(object, port)).collect::<Vec<_>>();
    if objects.len() != 4 {
        return Err(Error::Manifests(
            "expected a Service, two webhook configurations and an APIService of the webhook"
                .into(),
        ));
    }
    apply(plane, objects).await
}

fn is_webhook_configuration(object: &Value) -> bool {
    object["kind"] == "MutatingWebhookConfiguration"
        || object["kind"] == "ValidatingWebhookConfiguration"
}

fn is_api_service(object: &Value) -> bool {
    object["kind"] == "APIService"
}

/// The objects that say where the webhook is, changed to say here.
fn on_loopback(mut object: Value, port: u16) -> Option<Value> {
    if object["kind"] == "Service" && object["metadata"]["name"] == WEBHOOK_NAME {
        object["spec"] = json!({ "type": "ExternalName", "externalName": "localhost" });
        return Some(object);
    }
    if is_webhook_configuration(&object) {
        for webhook in object["webhooks"].as_array_mut()? {
            webhook["clientConfig"]["service"]["port"] = port.into();
        }
        return Some(object);
    }
    if is_api_service(&object) {
        object["spec"]["service"]["port"] = port.into();
        return Some(object);
    }
    None
}

/// The manifests, as kustomize renders them.
pub(super) async fn rendered(plane: &ControlPlane) -> Result<Vec<Value>, Error> {
    let base = workspace().join("manifests/base");
    let yaml = kubectl(plane, &["kustomize", &base.to_string_lossy()], "").await?;
    serde_saphyr::from_multiple(&yaml).map_err(|error| Error::Manifests(error.to_string()))
}

async fn apply(plane: &ControlPlane, items: Vec<Value>) -> Result<(), Error> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    kubectl(plane, &["apply", "--validate=strict", "-f", "-"], &list.to_string()).await.map(|_| ())
}

/// A Session that isn't kept: what admission says of it is the answer.
pub(super) async fn try_create(plane: &ControlPlane) -> Result<KubectlOutput, Error> {
    let session = json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": { "generateName": "try-", "namespace": "default" },
        "spec": { "target": "targetless" },
    });
    let args = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let admin = plane.admin().path();
    Ok(plane.kubectl_with_input(admin, &args, &session.to_string()).await?)
}

/// Waits until a Session without an owner is refused by the policy.
pub(super) async fn wait_until_guarded(plane: &ControlPlane) -> Result<(), Error> {
    wait_until("the guard policy refuses a Session without owner", || async {
        let output = try_create(plane).await?;
        let refused =
            output.stderr.contains("ValidatingAdmissionPolicy 'sessions.mirrord-sessions'");
        Ok(if refused { Ok(()) } else { Err(output.stdout + &output.stderr) })
    })
    .await
}

/// Asks until the answer is `Ok`; what it was last if it never is.
pub(super) async fn wait_until<F>(what: &str, ask: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Result<(), String>, Error>>,
{
    let start = Instant::now();
    loop {
        match ask().await? {
            Ok(()) => return Ok(()),
            Err(last) if start.elapsed() > DEADLINE => {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: DEADLINE.as_secs(),
                    last,
                });
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Runs kubectl as an administrator.
pub(super) async fn kubectl(
    plane: &ControlPlane,
    args: &[&str],
    input: &str,
) -> Result<String, Error> {
    let output = plane.kubectl_with_input(plane.admin().path(), args, input).await?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Kubectl { what: args.join(" "), stderr: output.stderr.trim_end().to_owned() })
    }
}
