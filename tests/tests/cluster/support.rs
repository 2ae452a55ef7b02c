//! Users, namespaces, Sessions and polling helpers shared by the cluster tests.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use mirrord_sessions_tests::{
    cluster::{Cluster, Webhook},
    control_plane::{Identity, KubectlOutput, Program},
};
use serde_json::{Value, json};

/// Body of a request to the `join` subresource of a tracker.
pub(crate) const SESSION_JOIN: &str =
    r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionJoin"}"#;

/// Returns the cluster that most tests share.
pub(crate) fn shared() -> &'static Cluster {
    Cluster::shared().unwrap_or_else(|error| panic!("{error}"))
}

/// A user of the cluster with a kubeconfig.
pub(crate) struct User<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
    kubeconfig: PathBuf,
    namespace: String,
}

/// A namespace that belongs to a single test.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

/// Creates a namespace with a unique name.
pub(crate) async fn create_namespace<'a>(cluster: &'a Cluster, prefix: &str) -> Namespace<'a> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    cluster.admin(&["create", "namespace", &name], "").await.unwrap();
    Namespace { cluster, name }
}

/// Creates a namespace and a developer who holds the default user role in it.
pub(crate) async fn create_developer<'a>(
    cluster: &'a Cluster,
    prefix: &str,
) -> (Namespace<'a>, User<'a>) {
    let namespace = create_namespace(cluster, prefix).await;
    let user = namespace.user(&format!("{prefix}@example.com"), &["devs"]);
    namespace.bind_role("mirrord-operator-user", &user.name).await;
    (namespace, user)
}

impl<'a> Namespace<'a> {
    /// Returns a user without permissions whose kubectl commands default to this namespace.
    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> User<'a> {
        let identity = Identity::new(name, groups.iter().copied());
        let file = self.cluster.plane.kubeconfig_with_contexts(&[(name, identity)]).unwrap();
        User {
            cluster: self.cluster,
            name: name.to_owned(),
            kubeconfig: file.path().to_owned(),
            namespace: self.name.clone(),
        }
    }

    /// Binds a ClusterRole to a user in this namespace.
    pub(crate) async fn bind_role(&self, role: &str, user: &str) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "generateName": "test-", "namespace": self.name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        });
        self.cluster.admin(&["create", "-f", "-"], &binding.to_string()).await.unwrap();
    }

    /// Grants a user read access to the Sessions of this namespace.
    ///
    /// The roles of an installation grant none, because users read trackers instead.
    pub(crate) async fn grant_session_reads(&self, user: &str) {
        let resource = format!("--resource={}", mirrord_sessions_crds::SESSIONS);
        let user = format!("--user={user}");
        for kind_and_flags in [
            &["role", "--verb=get,list,watch", &resource][..],
            &["rolebinding", "--role=reads-sessions", &user],
        ] {
            let name = ["reads-sessions", "-n", &self.name];
            let args = [&["create", kind_and_flags[0]], &name[..], &kind_and_flags[1..]].concat();
            self.cluster.admin(&args, "").await.unwrap();
        }
    }

    /// Returns the Sessions of this namespace.
    pub(crate) async fn sessions(&self) -> Vec<Value> {
        let args = ["get", "sessions", "-n", &self.name, "-o", "json"];
        let list = admin_json(self.cluster, &args).await;
        list["items"].as_array().unwrap().clone()
    }
}

impl User<'_> {
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs kubectl as this user in the user's namespace.
    pub(crate) async fn kubectl(&self, args: &[&str], input: &str) -> KubectlOutput {
        let args = [&["-n", &self.namespace], args].concat();
        self.cluster.plane.kubectl_with_input(&self.kubeconfig, &args, input).await.unwrap()
    }

    /// Returns the identity that the API server authenticates, in the form of `spec.owner`.
    pub(crate) async fn owner(&self) -> Value {
        let output = self.kubectl(&["auth", "whoami", "-o", "json"], "").await;
        let review: Value = serde_json::from_str(&output.stdout).unwrap();
        let user = &review["status"]["userInfo"];
        let mut owner = json!({ "username": user["username"], "groups": user["groups"] });
        if let Some(uid) = user.get("uid") {
            owner["uid"] = uid.clone();
        }
        owner
    }
}

/// Runs kubectl as an administrator and parses its standard output as JSON.
pub(crate) async fn admin_json(cluster: &Cluster, args: &[&str]) -> Value {
    serde_json::from_str(&cluster.admin(args, "").await.unwrap()).unwrap()
}

/// Returns `metadata.name` of an object.
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Returns the manifest of a Session.
pub(crate) fn session_manifest(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// Returns the spec of a Session with a key and client information.
pub(crate) fn session_spec() -> Value {
    json!({
        "target": "deployment/ip-visit-counter",
        "key": "s3cret",
        "client": { "username": "Aviram Hassan", "hostname": "mac.local", "version": "3.250.0" },
    })
}

/// Creates a Session as a user, with its name as the value of the label `run`.
pub(crate) async fn create_session(user: &User<'_>, name: &str, spec: Value) {
    let mut manifest = session_manifest(name, spec);
    manifest["metadata"]["labels"] = json!({ "run": name });
    let output = user.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
    assert!(output.status.success(), "{}", output.stderr);
}

/// Returns the API path of a tracker or of its subresource, such as `/join`.
pub(crate) fn tracker_path(namespace: &str, name: &str, subresource: &str) -> String {
    format!("{}/{name}{subresource}", trackers_path(namespace))
}

/// Returns the API path of the trackers of a namespace.
pub(crate) fn trackers_path(namespace: &str) -> String {
    format!("/apis/visibility.operator.metalbear.co/v1/namespaces/{namespace}/sessiontrackers")
}

/// Posts a body to an API path and returns the response, or kubectl's standard error.
pub(crate) async fn post(user: &User<'_>, path: &str, body: &str) -> Result<Value, String> {
    let output = user.kubectl(&["create", "--raw", path, "-f", "-"], body).await;
    if output.status.success() {
        Ok(serde_json::from_str(&output.stdout).unwrap())
    } else {
        Err(output.stderr)
    }
}

/// Links kubectl and the plugin into a folder, so that kubectl finds the plugin on this path.
pub(crate) fn link_kubectl_and_plugin(cluster: &Cluster, folder: &Path) {
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    };
    link(cluster.plane.assets().path(Program::Kubectl), "kubectl");
    link(&cluster.programs.plugin, "kubectl-mirrord_sessions");
}

/// Runs a command without standard input and returns its output.
pub(crate) async fn run_command(command: &mut tokio::process::Command) -> KubectlOutput {
    let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
    KubectlOutput {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status,
    }
}

/// Returns whether a webhook has logged that it acquired leadership.
pub(crate) fn is_leader(webhook: &Webhook) -> bool {
    webhook.log_text().contains(" acquired leadership ")
}

/// Polls kubectl until its standard output contains a text, and returns that output.
///
/// Trackers follow writes of Sessions with a delay of some milliseconds.
pub(crate) async fn wait_for_output(user: &User<'_>, args: &[&str], text: &str) -> String {
    eventually(&format!("{args:?} prints {text:?}"), || async {
        let output = user.kubectl(args, "").await;
        output.stdout.contains(text).then_some(output.stdout)
    })
    .await
}

/// Polls a condition for up to 30 seconds, until it returns `Some`.
pub(crate) async fn eventually<T, F>(condition: &str, probe: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(Duration::from_secs(30), condition, probe).await
}

/// Polls a condition until it returns `Some`, and panics after a timeout.
pub(crate) async fn eventually_within<T, F>(
    timeout: Duration,
    condition: &str,
    probe: impl Fn() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    poll(Duration::from_millis(50), timeout, condition, probe).await
}

/// Polls a condition at an interval until it returns `Some`, and panics after a timeout.
pub(crate) async fn poll<T, F>(
    interval: Duration,
    timeout: Duration,
    condition: &str,
    probe: impl Fn() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < timeout, "timed out after {timeout:?}: {condition}");
        tokio::time::sleep(interval).await;
    }
}
