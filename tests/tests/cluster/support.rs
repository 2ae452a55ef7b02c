//! What the tests share: people, namespaces, kubectl.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use mirrord_sessions_tests::{
    cluster::Cluster,
    control_plane::{Identity, KubectlOutput},
};
use serde_json::{Value, json};

/// The cluster that tests share.
pub(crate) fn shared() -> &'static Cluster {
    Cluster::shared().unwrap_or_else(|error| panic!("{error}"))
}

/// Somebody with a kubeconfig.
pub(crate) struct User<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
    kubeconfig: PathBuf,
    namespace: String,
}

/// A namespace of a test's own.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

pub(crate) async fn create_namespace<'a>(cluster: &'a Cluster, prefix: &str) -> Namespace<'a> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    cluster.admin(&["create", "namespace", &name], "").await.unwrap();
    Namespace { cluster, name }
}

impl<'a> Namespace<'a> {
    /// Somebody who works in this namespace by default, without any right.
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

    /// Lets a user read Sessions here, which the roles of an installation don't: there are
    /// trackers.
    pub(crate) async fn grant_session_reads(&self, user: &str) {
        let resource = format!("--resource={}", mirrord_sessions_crds::SESSIONS);
        let user = format!("--user={user}");
        for what in [
            &["role", "--verb=get,list,watch", &resource][..],
            &["rolebinding", "--role=reads-sessions", &user],
        ] {
            let name = ["reads-sessions", "-n", &self.name];
            let args = [&["create", what[0]], &name[..], &what[1..]].concat();
            self.cluster.admin(&args, "").await.unwrap();
        }
    }

    /// The Sessions of this namespace.
    pub(crate) async fn sessions(&self) -> Vec<Value> {
        let list = self
            .cluster
            .admin(&["get", "sessions", "-n", &self.name, "-o", "json"], "")
            .await
            .unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
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

    /// Runs kubectl as this user, in the namespace.
    pub(crate) async fn kubectl(&self, args: &[&str], input: &str) -> KubectlOutput {
        let args = [&["-n", &self.namespace], args].concat();
        self.cluster.plane.kubectl_with_input(&self.kubeconfig, &args, input).await.unwrap()
    }

    /// Who the API server takes this user for, as the owner of a Session holds it.
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

/// The manifest of a Session with these fields of its spec.
pub(crate) fn session_manifest(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// Asks until the answer is `Some`.
pub(crate) async fn eventually<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(Duration::from_secs(30), what, ask).await
}

/// The same for what may take longer.
pub(crate) async fn eventually_within<T, F>(limit: Duration, what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
