//! No request ends with a Session whose owner is not its creator: each way to write one, with the
//! webhook up, and with its configuration deleted.

mod cases;

use mirrord_sessions_tests::{cluster::Cluster, control_plane::KubectlOutput};
use serde_json::json;

use crate::support::{Namespace, User, create_namespace, eventually, session_manifest, shared};
use cases::{
    CREATES,
    Expect::{self, Accepted, Refused},
    Forgery, UPDATES, Way, Webhook,
};

/// Alice and mallory, who may do everything with sessions and their status, everywhere, and may
/// still not forge.
async fn allow_everything(cluster: &Cluster) {
    let user =
        |name| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "everything-on-sessions" },
            "rules": [{ "apiGroups": ["operator.metalbear.co"], "resources": ["sessions", "sessions/status"], "verbs": ["*"] }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "everything-on-sessions" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "everything-on-sessions" },
            "subjects": [user("alice"), user("mallory")],
        },
    ]});
    cluster.admin(&["apply", "-f", "-"], &list.to_string()).await.unwrap();
}

impl Forgery {
    async fn learn(namespace: &Namespace<'_>) -> Self {
        let (alice, mallory) = people(namespace);
        Self { alice: alice.owner().await, mallory: mallory.owner().await }
    }
}

fn people<'a>(namespace: &Namespace<'a>) -> (User<'a>, User<'a>) {
    (namespace.user("alice", &["devs"]), namespace.user("mallory", &["devs", "contractors"]))
}

fn outcome(output: &KubectlOutput) -> Expect {
    if output.status.success() { Accepted } else { Refused }
}

fn expected(way: &Way, webhook: Webhook) -> Expect {
    match webhook {
        Webhook::Up => way.up,
        Webhook::Deleted | Webhook::GuardAlone => way.deleted,
    }
}

/// Runs every way in a namespace of its own and returns what went wrong.
async fn creates(cluster: &Cluster, forgery: &Forgery, webhook: Webhook) -> Vec<String> {
    let mut wrong = Vec::new();
    for way in CREATES {
        let namespace = create_namespace(cluster, "creates").await;
        let (_, mallory) = people(&namespace);
        let manifest = (way.manifest)(forgery).to_string();
        // Twice where that makes sense: the manifest as it was, applied again.
        let times = if way.args[0] == "apply" { 2 } else { 1 };
        for time in 0..times {
            let output = mallory.kubectl(way.args, &manifest).await;
            if outcome(&output) != expected(way, webhook) {
                wrong.push(format!("{webhook:?}, {} ({time}): {output:?}", way.name));
            }
        }
        let sessions = namespace.sessions().await;
        if sessions.is_empty() != (expected(way, webhook) == Refused) {
            wrong.push(format!("{webhook:?}, {}: {} Sessions", way.name, sessions.len()));
        }
        for session in sessions {
            let line = session["spec"]["user"].as_str().unwrap_or_default();
            if session["spec"]["owner"] != forgery.mallory
                || !["mallory", "Mal/mallory@laptop", "/mallory@corp"].contains(&line)
            {
                wrong.push(format!("{webhook:?}, {}: stored as {session:#}", way.name));
            }
        }
    }
    wrong
}

async fn updates(cluster: &Cluster, forgery: &Forgery, webhook: Webhook) -> Vec<String> {
    let mut wrong = Vec::new();
    for way in UPDATES {
        // The definition alone keeps the target as it is.
        if webhook == Webhook::GuardAlone && way.name == "another target" {
            continue;
        }
        let namespace = create_namespace(cluster, "updates").await;
        let (alice, mallory) = people(&namespace);
        // By alice, and true: it is accepted with the webhook and without.
        let created = alice
            .kubectl(&["create", "-f", "-"], &session_manifest("s", forgery.spec()).to_string())
            .await;
        assert!(created.status.success(), "{created:?}");
        let before = namespace.sessions().await.remove(0);

        let output = mallory.kubectl(way.args, &(way.manifest)(forgery).to_string()).await;
        if outcome(&output) != expected(way, webhook) {
            wrong.push(format!("{webhook:?}, {}: {output:?}", way.name));
        }
        if webhook == Webhook::GuardAlone
            && expected(way, webhook) == Refused
            && !output.stderr.contains("'sessions.mirrord-sessions'")
        {
            wrong.push(format!("not by the guard, {}: {output:?}", way.name));
        }
        let restored =
            webhook == Webhook::Up && way.up == Accepted && !way.name.starts_with("a label");
        if restored && !output.stderr.contains("Warning: spec.owner") {
            wrong.push(format!("{webhook:?}, {}: no warning: {output:?}", way.name));
        }
        let after = namespace.sessions().await.remove(0);
        if after["spec"] != before["spec"] || after["status"] != before["status"] {
            wrong.push(format!("{webhook:?}, {}: stored as {after:#}", way.name));
        }
    }
    wrong
}

/// Impersonation: the effective user is the owner, also of an administrator's requests.
async fn impersonation(cluster: &Cluster, webhook: Webhook) -> Vec<String> {
    let namespace = create_namespace(cluster, "impersonation").await;
    let owner =
        json!({ "username": "alice", "uid": "u-1", "groups": ["devs", "system:authenticated"] });
    let admin_forges = session_manifest(
        "s",
        json!({ "target": "deployment/a", "owner": { "username": "admin", "groups": ["system:masters"] }, "user": "admin" }),
    );
    let cases = [
        ("forged", admin_forges, if webhook == Webhook::Up { Accepted } else { Refused }),
        (
            "true",
            session_manifest(
                "t",
                json!({ "target": "deployment/a", "owner": owner, "user": "alice" }),
            ),
            Accepted,
        ),
    ];
    let mut wrong = Vec::new();
    let admin = cluster.plane.admin();
    let args = [
        "-n",
        &namespace.name,
        "--as=alice",
        "--as-uid=u-1",
        "--as-group=devs",
        "create",
        "-f",
        "-",
    ];
    for (name, manifest, expected) in cases {
        let output = cluster
            .plane
            .kubectl_with_input(admin.path(), &args, &manifest.to_string())
            .await
            .unwrap();
        if outcome(&output) != expected {
            wrong.push(format!("{webhook:?}, impersonation, {name}: {output:?}"));
        }
    }
    for session in namespace.sessions().await {
        if session["spec"]["owner"] != owner || session["spec"]["user"] != "alice" {
            wrong.push(format!("{webhook:?}, impersonation: stored as {session:#}"));
        }
    }
    wrong
}

/// The controller alone records others, and writes status.
async fn controller(cluster: &Cluster, webhook: Webhook) -> Vec<String> {
    let namespace = create_namespace(cluster, "controller").await;
    let other = format!("system:serviceaccount:{}:default", namespace.name);
    let mut wrong = Vec::new();
    for (user, may) in [
        (mirrord_sessions_crds::CONTROLLER_USERNAME, true),
        (other.as_str(), false),
        ("admin", false),
    ] {
        let name = format!("by-{}", if may { "controller" } else { "other" });
        let impersonate = format!("--as={user}");
        let run = |args: Vec<String>, input: String| {
            let args: Vec<String> = [
                "-n".into(),
                namespace.name.clone(),
                impersonate.clone(),
                "--as-group=system:masters".into(),
            ]
            .into_iter()
            .chain(args)
            .collect();
            async move {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let admin = cluster.plane.admin();
                cluster.plane.kubectl_with_input(admin.path(), &args, &input).await.unwrap()
            }
        };
        let manifest = session_manifest(
            &name,
            json!({ "target": "a/b", "owner": { "username": "alice" }, "user": "alice" }),
        );
        let created =
            run(vec!["create".into(), "-f".into(), "-".into()], manifest.to_string()).await;
        let stored = namespace
            .sessions()
            .await
            .into_iter()
            .find(|session| session["metadata"]["name"] == *name);
        let as_alice = stored
            .is_some_and(|session| session["spec"]["owner"] == json!({ "username": "alice" }));
        if as_alice != may {
            wrong.push(format!("{webhook:?}, {user} on behalf of alice: {created:?}"));
        }
        let patch = r#"{"status":{"state":"running"}}"#;
        let target = "by-controller";
        let status = run(
            ["patch", "session", target, "--subresource=status", "--type=merge", "-p", patch]
                .map(Into::into)
                .into(),
            String::new(),
        )
        .await;
        if status.status.success() != may {
            wrong.push(format!("{webhook:?}, status by {user}: {status:?}"));
        }
    }
    wrong
}

async fn all(cluster: &Cluster, webhook: Webhook) {
    allow_everything(cluster).await;
    let forgery = Forgery::learn(&create_namespace(cluster, "learn").await).await;
    let wrong = [
        creates(cluster, &forgery, webhook).await,
        updates(cluster, &forgery, webhook).await,
        impersonation(cluster, webhook).await,
        controller(cluster, webhook).await,
    ]
    .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The definition refuses changes of spec before the policy is asked; without that, the policy
/// must.
async fn guard_alone(cluster: &Cluster) {
    let rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations";
    let patch = json!([{ "op": "remove", "path": rules }]).to_string();
    let definition = ["patch", "crd", mirrord_sessions_crds::SESSIONS, "--type=json", "-p", &patch];
    cluster.admin(&definition, "").await.unwrap();
    let namespace = create_namespace(cluster, "alone").await;
    let (alice, _) = people(&namespace);
    let forgery = Forgery::learn(&namespace).await;
    let manifest = session_manifest("s", forgery.spec()).to_string();
    let created = alice.kubectl(&["create", "-f", "-"], &manifest).await;
    assert!(created.status.success(), "{created:?}");
    eventually("the definition lets spec change", || async {
        let patch = r#"{"spec":{"target":"deployment/b"}}"#;
        let args = ["patch", "session", "s", "--type=merge", "--dry-run=server", "-p", patch];
        alice.kubectl(&args, "").await.status.success().then_some(())
    })
    .await;
    let wrong = updates(cluster, &forgery, Webhook::GuardAlone).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn denies_forgery_with_webhook() {
    all(shared(), Webhook::Up).await;
}

#[tokio::test]
async fn denies_forgery_without_webhook_configuration() {
    // A cluster of its own: the others need theirs whole.
    let cluster = Cluster::start().await.unwrap();
    cluster.delete_webhook_configuration().await.unwrap();
    all(&cluster, Webhook::Deleted).await;
    guard_alone(&cluster).await;
    cluster.route_to(&cluster.webhook).await.unwrap();
}
