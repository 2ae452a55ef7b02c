//! Attempts to forge the owner of a Session, with the webhook up and with its configuration
//! deleted.

mod cases;

use mirrord_sessions_tests::{cluster::Cluster, control_plane::KubectlOutput};
use serde_json::json;

use crate::support::{Namespace, User, create_namespace, eventually, session_manifest, shared};
use cases::{
    CREATES, ForgeryCase, Identities, Mode,
    Outcome::{self, Accepted, Denied},
    UPDATES,
};

/// Grants alice and mallory all permissions for Sessions and their status in all namespaces.
async fn grant_all_permissions(cluster: &Cluster) {
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

impl Identities {
    /// Reads the identities that the API server authenticates.
    async fn read(namespace: &Namespace<'_>) -> Self {
        let (alice, mallory) = alice_and_mallory(namespace);
        Self { alice: alice.owner().await, mallory: mallory.owner().await }
    }
}

fn alice_and_mallory<'a>(namespace: &Namespace<'a>) -> (User<'a>, User<'a>) {
    (namespace.user("alice", &["devs"]), namespace.user("mallory", &["devs", "contractors"]))
}

fn outcome(output: &KubectlOutput) -> Outcome {
    if output.status.success() { Accepted } else { Denied }
}

fn expected(case: &ForgeryCase, mode: Mode) -> Outcome {
    match mode {
        Mode::WithWebhook => case.with_webhook,
        Mode::WithoutWebhook | Mode::GuardPolicyOnly => case.without_webhook,
    }
}

/// Attempts every forged create in a namespace of its own, and returns the unexpected outcomes.
async fn try_creates(cluster: &Cluster, identities: &Identities, mode: Mode) -> Vec<String> {
    let mut failures = Vec::new();
    for case in CREATES {
        let namespace = create_namespace(cluster, "creates").await;
        let (_, mallory) = alice_and_mallory(&namespace);
        let manifest = (case.manifest)(identities).to_string();
        // Apply the unchanged manifest twice.
        let times = if case.args[0] == "apply" { 2 } else { 1 };
        for time in 0..times {
            let output = mallory.kubectl(case.args, &manifest).await;
            if outcome(&output) != expected(case, mode) {
                failures.push(format!("{mode:?}, {} ({time}): {output:?}", case.name));
            }
        }
        let sessions = namespace.sessions().await;
        if sessions.is_empty() != (expected(case, mode) == Denied) {
            failures.push(format!("{mode:?}, {}: {} Sessions", case.name, sessions.len()));
        }
        for session in sessions {
            let line = session["spec"]["user"].as_str().unwrap_or_default();
            if session["spec"]["owner"] != identities.mallory
                || !["mallory", "Mal/mallory@laptop", "/mallory@corp"].contains(&line)
            {
                failures.push(format!("{mode:?}, {}: stored as {session:#}", case.name));
            }
        }
    }
    failures
}

/// Attempts every forged update of a Session of alice, and returns the unexpected outcomes.
async fn try_updates(cluster: &Cluster, identities: &Identities, mode: Mode) -> Vec<String> {
    let mut failures = Vec::new();
    for case in UPDATES {
        // Only the CRD makes the target immutable.
        if mode == Mode::GuardPolicyOnly && case.name == "another target" {
            continue;
        }
        let namespace = create_namespace(cluster, "updates").await;
        let (alice, mallory) = alice_and_mallory(&namespace);
        // Alice states her own identity, which is accepted with and without the webhook.
        let created = alice
            .kubectl(
                &["create", "-f", "-"],
                &session_manifest("s", identities.alices_spec()).to_string(),
            )
            .await;
        assert!(created.status.success(), "{created:?}");
        let before = namespace.sessions().await.remove(0);

        let output = mallory.kubectl(case.args, &(case.manifest)(identities).to_string()).await;
        if outcome(&output) != expected(case, mode) {
            failures.push(format!("{mode:?}, {}: {output:?}", case.name));
        }
        if mode == Mode::GuardPolicyOnly
            && expected(case, mode) == Denied
            && !output.stderr.contains("'sessions.mirrord-sessions'")
        {
            failures.push(format!("not denied by the guard policy, {}: {output:?}", case.name));
        }
        let is_restored = mode == Mode::WithWebhook
            && case.with_webhook == Accepted
            && !case.name.starts_with("a label");
        if is_restored && !output.stderr.contains("Warning: spec.owner") {
            failures.push(format!("{mode:?}, {}: no warning: {output:?}", case.name));
        }
        let after = namespace.sessions().await.remove(0);
        if after["spec"] != before["spec"] || after["status"] != before["status"] {
            failures.push(format!("{mode:?}, {}: stored as {after:#}", case.name));
        }
    }
    failures
}

/// Checks that the impersonated user owns a Session, also for requests of administrators.
async fn try_impersonation(cluster: &Cluster, mode: Mode) -> Vec<String> {
    let namespace = create_namespace(cluster, "impersonation").await;
    let owner =
        json!({ "username": "alice", "uid": "u-1", "groups": ["devs", "system:authenticated"] });
    let admin_forges = session_manifest(
        "s",
        json!({ "target": "deployment/a", "owner": { "username": "admin", "groups": ["system:masters"] }, "user": "admin" }),
    );
    let cases = [
        ("forged", admin_forges, if mode == Mode::WithWebhook { Accepted } else { Denied }),
        (
            "true",
            session_manifest(
                "t",
                json!({ "target": "deployment/a", "owner": owner, "user": "alice" }),
            ),
            Accepted,
        ),
    ];
    let mut failures = Vec::new();
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
            failures.push(format!("{mode:?}, impersonation, {name}: {output:?}"));
        }
    }
    for session in namespace.sessions().await {
        if session["spec"]["owner"] != owner || session["spec"]["user"] != "alice" {
            failures.push(format!("{mode:?}, impersonation: stored as {session:#}"));
        }
    }
    failures
}

/// Checks that only the controller creates Sessions of other users and writes status.
async fn try_as_controller(cluster: &Cluster, mode: Mode) -> Vec<String> {
    let namespace = create_namespace(cluster, "controller").await;
    let other = format!("system:serviceaccount:{}:default", namespace.name);
    let mut failures = Vec::new();
    for (user, allowed) in [
        (mirrord_sessions_crds::CONTROLLER_USERNAME, true),
        (other.as_str(), false),
        ("admin", false),
    ] {
        let name = format!("by-{}", if allowed { "controller" } else { "other" });
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
        let is_alices = stored
            .is_some_and(|session| session["spec"]["owner"] == json!({ "username": "alice" }));
        if is_alices != allowed {
            failures.push(format!("{mode:?}, {user} on behalf of alice: {created:?}"));
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
        if status.status.success() != allowed {
            failures.push(format!("{mode:?}, status by {user}: {status:?}"));
        }
    }
    failures
}

async fn assert_no_forgery(cluster: &Cluster, mode: Mode) {
    grant_all_permissions(cluster).await;
    let identities = Identities::read(&create_namespace(cluster, "identities").await).await;
    let failures = [
        try_creates(cluster, &identities, mode).await,
        try_updates(cluster, &identities, mode).await,
        try_impersonation(cluster, mode).await,
        try_as_controller(cluster, mode).await,
    ]
    .concat();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks that the guard policy denies changes of spec without the immutability rule of the CRD.
async fn assert_guard_policy_suffices(cluster: &Cluster) {
    let rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations";
    let patch = json!([{ "op": "remove", "path": rules }]).to_string();
    let definition = ["patch", "crd", mirrord_sessions_crds::SESSIONS, "--type=json", "-p", &patch];
    cluster.admin(&definition, "").await.unwrap();
    let namespace = create_namespace(cluster, "alone").await;
    let (alice, _) = alice_and_mallory(&namespace);
    let identities = Identities::read(&namespace).await;
    let manifest = session_manifest("s", identities.alices_spec()).to_string();
    let created = alice.kubectl(&["create", "-f", "-"], &manifest).await;
    assert!(created.status.success(), "{created:?}");
    eventually("the CRD allows changes of spec", || async {
        let patch = r#"{"spec":{"target":"deployment/b"}}"#;
        let args = ["patch", "session", "s", "--type=merge", "--dry-run=server", "-p", patch];
        alice.kubectl(&args, "").await.status.success().then_some(())
    })
    .await;
    let failures = try_updates(cluster, &identities, Mode::GuardPolicyOnly).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn denies_forgery_with_webhook() {
    assert_no_forgery(shared(), Mode::WithWebhook).await;
}

#[tokio::test]
async fn denies_forgery_without_webhook_configuration() {
    // The test needs a dedicated cluster, because it deletes the webhook configuration.
    let cluster = Cluster::start().await.unwrap();
    cluster.delete_webhook_configuration().await.unwrap();
    assert_no_forgery(&cluster, Mode::WithoutWebhook).await;
    assert_guard_policy_suffices(&cluster).await;
    cluster.route_to(&cluster.webhook).await.unwrap();
}
