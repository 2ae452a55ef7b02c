//! Installs the manifests with kubectl, as an administrator would.

use std::time::{Duration, Instant};

use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::{Value, json};

use super::{Error, build::workspace};
use crate::control_plane::{ControlPlane, KubectlOutput};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Applies the CRDs and the manifests and waits until the guard policy is in force.
///
/// Excludes the webhook configurations and the APIService, which [`route_webhook`] applies.
pub(super) async fn install_base(plane: &ControlPlane) -> Result<(), Error> {
    let crds = workspace().join("crds");
    kubectl(plane, &["apply", "-f", &crds.to_string_lossy()], "").await?;
    kubectl(
        plane,
        &["wait", "--for=condition=Established", "crd", mirrord_sessions_crds::SESSIONS],
        "",
    )
    .await?;
    let objects = render_manifests(plane).await?;
    let objects = objects
        .into_iter()
        .filter(|object| !is_webhook_configuration(object) && !is_api_service(object));
    apply(plane, objects.collect()).await?;
    wait_for_guard_policy(plane).await
}

/// Routes the webhook configurations and the APIService to a process on a loopback port.
///
/// The route passes through the webhook's Service, so that names and certificates match those of a
/// real cluster.
pub(super) async fn route_webhook(plane: &ControlPlane, port: u16) -> Result<(), Error> {
    let objects = render_manifests(plane).await?;
    let objects = objects
        .into_iter()
        .filter_map(|object| redirect_to_loopback(object, port))
        .collect::<Vec<_>>();
    if objects.len() != 4 {
        return Err(Error::Manifests(
            "expected a Service, two webhook configurations and an APIService for the webhook"
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

/// Returns the object with a route to the loopback port, or `None` if it has no route.
fn redirect_to_loopback(mut object: Value, port: u16) -> Option<Value> {
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

/// Returns the manifests as kustomize renders them.
pub(super) async fn render_manifests(plane: &ControlPlane) -> Result<Vec<Value>, Error> {
    let base = workspace().join("manifests/base");
    let yaml = kubectl(plane, &["kustomize", &base.to_string_lossy()], "").await?;
    serde_saphyr::from_multiple(&yaml).map_err(|error| Error::Manifests(error.to_string()))
}

async fn apply(plane: &ControlPlane, items: Vec<Value>) -> Result<(), Error> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    kubectl(plane, &["apply", "--validate=strict", "-f", "-"], &list.to_string()).await.map(|_| ())
}

/// Creates a Session by a server-side dry run, which returns the decision of admission.
pub(super) async fn dry_run_create(plane: &ControlPlane) -> Result<KubectlOutput, Error> {
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

/// Waits until the guard policy denies a Session without an owner.
pub(super) async fn wait_for_guard_policy(plane: &ControlPlane) -> Result<(), Error> {
    wait_until("the guard policy denies a Session without an owner", || async {
        let output = dry_run_create(plane).await?;
        let is_denied =
            output.stderr.contains("ValidatingAdmissionPolicy 'sessions.mirrord-sessions'");
        Ok(if is_denied { Ok(()) } else { Err(output.stdout + &output.stderr) })
    })
    .await
}

/// Polls a condition until it returns `Ok`. A timeout error quotes its last failure.
pub(super) async fn wait_until<F>(condition: &str, check: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Result<(), String>, Error>>,
{
    let started = Instant::now();
    loop {
        match check().await? {
            Ok(()) => return Ok(()),
            Err(last) if started.elapsed() > DEADLINE => {
                return Err(Error::Timeout {
                    condition: condition.to_owned(),
                    seconds: DEADLINE.as_secs(),
                    last,
                });
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Runs kubectl as an administrator and returns its standard output.
pub(super) async fn kubectl(
    plane: &ControlPlane,
    args: &[&str],
    input: &str,
) -> Result<String, Error> {
    let output = plane.kubectl_with_input(plane.admin().path(), args, input).await?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Kubectl { args: args.join(" "), stderr: output.stderr.trim_end().to_owned() })
    }
}
