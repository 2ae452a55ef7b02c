//! The plugin on a real cluster, run through kubectl.

mod kubeconfigs;
mod list;
mod policy;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use mirrord_sessions_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, KubectlOutput},
};
use serde_json::{Value, json};

use crate::support::{
    Namespace, User, create_namespace, eventually, link_kubectl_and_plugin, name_of, run_command,
    session_manifest, shared,
};

/// Returns a folder of the control plane that holds kubectl and the plugin.
pub(crate) fn bin(cluster: &Cluster) -> PathBuf {
    let bin = cluster.plane.folder().join("bin-of-tests");
    if std::fs::create_dir(&bin).is_ok() {
        link_kubectl_and_plugin(cluster, &bin);
    }
    bin
}

pub(crate) fn shared_bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| bin(shared()))
}

/// Runs `kubectl mirrord-sessions` with a kubeconfig.
pub(crate) async fn plugin(bin: &Path, kubeconfig: &Path, args: &[&str]) -> KubectlOutput {
    let mut command = tokio::process::Command::new(bin.join("kubectl"));
    command
        .arg("mirrord-sessions")
        .args(args)
        .env("PATH", bin)
        .env("KUBECONFIG", kubeconfig)
        .env("RUST_BACKTRACE", "1");
    run_command(&mut command).await
}

impl User<'_> {
    pub(crate) async fn plugin(&self, args: &[&str]) -> KubectlOutput {
        let args = [args, &["-n", self.namespace()]].concat();
        plugin(shared_bin(), self.kubeconfig(), &args).await
    }

    /// Waits until the plugin lists exactly these sessions.
    ///
    /// Trackers follow writes of Sessions with a delay of some milliseconds.
    async fn wait_for_sessions(&self, names: &[&str]) {
        let expected: Vec<String> =
            names.iter().map(|name| format!("session.operator.metalbear.co/{name}")).collect();
        eventually(&format!("{} lists {names:?}", self.name), || async {
            let output = self.plugin(&["list", "-o", "name"]).await;
            output.stdout.lines().eq(&expected).then_some(())
        })
        .await;
    }

    async fn create_session(&self, name: &str, target: &str) {
        let client = json!({ "username": "Who", "hostname": "host", "version": "3.250.0" });
        let manifest = session_manifest(name, json!({ "target": target, "client": client }));
        let output = self.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
        assert!(output.status.success(), "{output:?}");
    }
}

async fn session_names(namespace: &Namespace<'_>) -> Vec<String> {
    namespace.sessions().await.iter().map(|session| name_of(session).to_owned()).collect()
}

#[tokio::test]
async fn lists_describes_and_deletes_sessions() {
    let namespace = create_namespace(shared(), "plugin").await;
    let dev = namespace.user("plugin-dev", &["devs"]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    // Sessions must be readable to compare the output with that of kubectl.
    namespace.grant_session_reads(&dev.name).await;
    let empty = dev.plugin(&["list"]).await;
    assert!(empty.status.success() && empty.stdout.is_empty(), "{empty:?}");
    assert_eq!(empty.stderr, format!("No sessions found in {} namespace.\n", namespace.name));

    dev.create_session("487f4f2b6d2376ad", "deployment/ip-visit-counter").await;
    dev.create_session("c527fe7d9c30979e", "targetless").await;
    dev.create_session("named", "pod/a").await;
    dev.wait_for_sessions(&["487f4f2b6d2376ad", "c527fe7d9c30979e", "named"]).await;
    let list = dev.plugin(&["list"]).await;
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
    let mut lines = list.stdout.lines();
    let header: Vec<&str> =
        lines.next().unwrap().split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(header, ["SESSION ID", "TARGET", "USER", "PORTS", "SESSION DURATION"]);
    let ids: Vec<&str> = lines.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(ids, ["487F4F2B6D2376AD", "C527FE7D9C30979E", "named"]);
    assert!(list.stdout.contains("Who/plugin-dev@host"), "{list:?}");

    // The output equals that of kubectl in every format.
    for (format, resource) in
        [("json", "sessiontrackers"), ("yaml", "sessiontrackers"), ("name", "sessions")]
    {
        let ours = dev.plugin(&["list", "-o", format]).await.stdout;
        let theirs = dev.kubectl(&["get", resource, "-o", format], "").await.stdout;
        assert_eq!(ours, theirs, "-o {format}");
    }
    let yaml = dev.plugin(&["list", "-o", "yaml"]).await.stdout;
    let applied = shared().admin(&["apply", "--dry-run=client", "-f", "-"], &yaml).await;
    assert!(applied.is_ok(), "{applied:?}");

    let described = dev.plugin(&["describe", "487F4F2B6D2376AD"]).await.stdout;
    for expected in [
        "487F4F2B6D2376AD",
        "deployment/ip-visit-counter",
        "plugin-dev",
        "devs",
        "Who",
        "host",
        "3.250.0",
        "pending",
    ] {
        assert!(described.contains(expected), "{expected}: {described}");
    }

    // Each deleted and each missing session is reported, and the exit code is 1.
    let deleted = dev.plugin(&["delete", "487F4F2B6D2376AD", "0000000000000000", "named"]).await;
    assert_eq!(deleted.status.code(), Some(1), "{deleted:?}");
    assert!(deleted.stdout.contains("\"487F4F2B6D2376AD\" deleted"), "{deleted:?}");
    assert!(deleted.stdout.contains("\"named\" deleted"), "{deleted:?}");
    assert!(deleted.stderr.contains("\"0000000000000000\" not found"), "{deleted:?}");
    assert_eq!(session_names(&namespace).await, ["c527fe7d9c30979e"]);
    let killed = dev.plugin(&["kill", "--id", "c527fe7d9c30979e"]).await;
    assert!(killed.status.success(), "{killed:?}");
    assert!(session_names(&namespace).await.is_empty());
}

#[tokio::test]
async fn kill_all_deletes_listed_sessions_and_continues_after_denial() {
    let cluster = shared();
    let here = create_namespace(cluster, "kill-all").await;
    let other_namespace = create_namespace(cluster, "kill-all").await;
    let dev = here.user("killer", &[]);
    for namespace in [&here, &other_namespace] {
        namespace.bind_role("mirrord-operator-user", "killer").await;
    }
    for name in ["a", "b"] {
        dev.create_session(name, "targetless").await;
    }
    other_namespace.user("killer", &[]).create_session("c", "targetless").await;
    dev.wait_for_sessions(&["a", "b"]).await;
    let killed = dev.plugin(&["kill-all"]).await;
    assert!(killed.status.success(), "{killed:?}");
    assert!(session_names(&here).await.is_empty());
    assert_eq!(session_names(&other_namespace).await, ["c"]);

    // A ValidatingAdmissionPolicy protects one session, and the others are deleted.
    let policy = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "protect" },
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": here.name } },
                    "resourceRules": [{ "apiGroups": ["operator.metalbear.co"], "apiVersions": ["*"], "resources": ["sessions"], "operations": ["DELETE"] }],
                },
                "validations": [{ "expression": "oldObject.metadata.name != 'm'", "message": "m is protected" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "protect" },
            "spec": { "policyName": "protect", "validationActions": ["Deny"] },
        },
    ]});
    cluster.admin(&["apply", "-f", "-"], &policy.to_string()).await.unwrap();
    for name in ["a", "m", "z"] {
        dev.create_session(name, "targetless").await;
    }
    eventually("the policy is enforced", || async {
        let args = ["delete", "session", "m", "--dry-run=server", "-n", &here.name];
        cluster.admin(&args, "").await.is_err().then_some(())
    })
    .await;
    dev.wait_for_sessions(&["a", "m", "z"]).await;
    let killed = dev.plugin(&["kill-all", "--yes"]).await;
    assert_eq!(killed.status.code(), Some(1), "{killed:?}");
    assert!(killed.stderr.contains("m is protected"), "{killed:?}");
    assert!(
        !killed.stderr.contains("rolebinding"),
        "the hint must not suggest RBAC for a policy: {killed:?}"
    );
    assert_eq!(session_names(&here).await, ["m"]);
    cluster.admin(&["delete", "validatingadmissionpolicybinding", "protect"], "").await.unwrap();
    cluster.admin(&["delete", "validatingadmissionpolicy", "protect"], "").await.unwrap();
}

#[tokio::test]
async fn forbidden_error_names_missing_permission_and_remedy() {
    let namespace = create_namespace(shared(), "refusals").await;
    let unprivileged = namespace.user("nobody at all", &[]);
    for (args, permission) in [
        (&["list"][..], "list sessiontrackers.visibility"),
        (&["describe", "a"], "get sessiontrackers.visibility"),
        (&["join", "a"], "create sessiontrackers/join.visibility"),
        (&["delete", "a"], "delete sessions"),
    ] {
        let output = unprivileged.plugin(args).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        for expected in [
            "Forbidden",
            &format!("cannot {permission}.operator.metalbear.co"),
            &namespace.name,
            "--clusterrole=mirrord-operator-user",
            "--user='nobody at all'",
        ] {
            assert!(output.stderr.contains(expected), "{expected}: {output:?}");
        }
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    // Following the hint grants the missing permission.
    namespace.bind_role("mirrord-operator-user", &unprivileged.name).await;
    assert!(unprivileged.plugin(&["list"]).await.status.success());
}

#[tokio::test]
async fn honors_impersonation_context_and_namespace_flags() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "flags").await;
    let admin = namespace.user("flags-admin", &["system:masters"]);
    admin.create_session("s", "targetless").await;
    admin.wait_for_sessions(&["s"]).await;
    let refused = admin.plugin(&["list", "--as", "somebody-else", "--as-group", "devs"]).await;
    assert!(refused.stderr.contains("User \"somebody-else\" cannot list"), "{refused:?}");
    let context = admin.plugin(&["list", "--context", "nope"]).await;
    assert_eq!(context.status.code(), Some(1));
    assert!(context.stderr.contains("context \"nope\" does not exist"), "{context:?}");
    let everywhere = plugin(shared_bin(), admin.kubeconfig(), &["list", "-A"]).await;
    assert!(everywhere.stdout.lines().next().unwrap().contains("NAMESPACE"), "{everywhere:?}");
    assert!(everywhere.stdout.contains(&namespace.name), "{everywhere:?}");
    let elsewhere =
        plugin(shared_bin(), admin.kubeconfig(), &["describe", "s", "-n", "default"]).await;
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(elsewhere.stderr.contains("\"s\" not found"), "{elsewhere:?}");
    let found = plugin(shared_bin(), admin.kubeconfig(), &["describe", "s", "-A"]).await;
    assert!(found.stdout.contains(&namespace.name), "{found:?}");
}

#[tokio::test]
async fn prints_short_connection_errors() {
    let cluster = shared();
    let folder = cluster.plane.folder();
    let write = |name: &str, change: &dyn Fn(&mut Value)| {
        let admin = cluster.plane.admin().config();
        let mut config = serde_json::to_value(admin).unwrap();
        change(&mut config);
        let path = folder.join(format!("broken-{name}.yaml"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    };
    let unreachable = write("dead", &|config| {
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    });
    let unauthenticated = write("unknown", &|config| {
        config["users"][0]["user"] = json!({ "token": "expired" });
    });
    let malformed = folder.join("broken-garbage.yaml");
    std::fs::write(&malformed, "{[").unwrap();
    // A control plane without the CRDs.
    let bare = ControlPlane::start().unwrap();

    for (kubeconfig, expected) in [
        (folder.join("missing.yaml"), "missing.yaml"),
        (malformed, "broken-garbage.yaml"),
        (unreachable, "The connection to the server 127.0.0.1:1 was refused"),
        (unauthenticated, "You must be logged in to the server"),
        (bare.admin().path().to_owned(), "not installed"),
    ] {
        for args in [&["list"][..], &["delete", "a"], &["describe", "a"]] {
            let output = plugin(shared_bin(), &kubeconfig, args).await;
            assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
            assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
            assert!(output.stderr.contains(expected), "{args:?}: {output:?}");
            assert!(!output.stderr.contains("backtrace"), "{args:?}: {output:?}");
            assert!(output.stderr.lines().count() <= 2, "{args:?}: {output:?}");
        }
    }
}

/// ClusterRole with the permissions of a user, without read access to Sessions.
const USER_ROLE: &str = r#"{
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "plugin-user" },
    "rules": [
        { "apiGroups": ["operator.metalbear.co"], "resources": ["sessions"], "verbs": ["create", "delete", "deletecollection"] },
        { "apiGroups": ["visibility.operator.metalbear.co"], "resources": ["sessiontrackers"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["visibility.operator.metalbear.co"], "resources": ["sessiontrackers/join", "sessiontrackers/report"], "verbs": ["create"] }
    ]
}"#;

#[tokio::test]
async fn works_without_read_access_to_sessions() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "rights").await;
    cluster.admin(&["apply", "-f", "-"], USER_ROLE).await.unwrap();
    let [dev, eve] = ["rights-dev", "rights-eve"].map(|name| namespace.user(name, &["devs"]));
    for user in [&dev, &eve] {
        namespace.bind_role("plugin-user", &user.name).await;
    }
    dev.create_session("487f4f2b6d2376ad", "deployment/shop").await;
    dev.create_session("9a00000000000000", "deployment/shop").await;
    eve.create_session("b000000000000000", "deployment/shop/container/api").await;
    eve.create_session("c000000000000000", "targetless").await;
    let all = ["487f4f2b6d2376ad", "9a00000000000000", "b000000000000000", "c000000000000000"];
    dev.wait_for_sessions(&all).await;
    let refused = dev.kubectl(&["get", "sessions"], "").await;
    assert!(refused.stderr.contains("Forbidden"), "{refused:?}");

    for (filter, expected) in [
        (&["--mine"][..], &all[..2]),
        (&["--user", "rights-eve"], &all[2..]),
        (&["--user", "Who"], &all),
        (&["--target", "deploy/shop"], &all[..3]),
        (&["--target", "shop", "--mine"], &all[..2]),
        (&["--port", "80"], &[]),
        (&["--field-selector", "spec.target=targetless"], &all[3..]),
    ] {
        let args = [&["list", "-o", "name"], filter].concat();
        let listed = dev.plugin(&args).await;
        let names: Vec<&str> =
            listed.stdout.lines().filter_map(|line| line.rsplit('/').next()).collect();
        assert!(listed.status.success(), "{filter:?}: {listed:?}");
        assert_eq!(names, expected, "{filter:?}");
    }
    let wide = dev.plugin(&["list", "-o", "wide"]).await.stdout;
    let line = wide.lines().nth(1).unwrap();
    assert!(line.ends_with("rights-eve"), "{wide}");
    let described = dev.plugin(&["describe", "deployment/shop"]).await;
    assert_eq!(described.stdout.matches("Session ID:").count(), 3, "{described:?}");
    assert!(described.stdout.contains("Others On Target:  rights-dev\n"), "{described:?}");
    assert!(
        described.stdout.contains("<you may not list events in this namespace>"),
        "{described:?}"
    );

    // A prefix identifies the session, and delete waits until it is no longer listed.
    let deleted = dev.plugin(&["delete", "487F"]).await;
    assert_eq!(
        deleted.stdout,
        format!(
            "session.operator.metalbear.co \"487F4F2B6D2376AD\" deleted from {} namespace\n",
            namespace.name
        )
    );
    assert!(deleted.status.success() && deleted.stderr.is_empty(), "{deleted:?}");
    let listed = dev.plugin(&["list", "-o", "name"]).await.stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let dry_run = dev.plugin(&["delete", "--user", "rights-eve", "--dry-run=server"]).await;
    assert_eq!(dry_run.stdout.matches("(server dry run)").count(), 2, "{dry_run:?}");
    let deleted = dev.plugin(&["delete", "--target", "shop", "-o", "name"]).await;
    assert_eq!(
        deleted.stdout,
        "session.operator.metalbear.co/9a00000000000000\nsession.operator.metalbear.co/b000000000000000\n"
    );
    let killed = dev.plugin(&["kill-all"]).await;
    assert!(killed.status.success(), "{killed:?}");
    let empty = dev.plugin(&["list"]).await;
    assert!(empty.stdout.is_empty(), "{empty:?}");
    assert!(session_names(&namespace).await.is_empty());
}
