//! Policies on the deletion of sessions: single, as a collection, and in dry runs.

use mirrord_sessions_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{
    Namespace, User, create_namespace, create_session, eventually, session_manifest, session_spec,
    shared,
};

fn policy(name: &str, subjects: &Value, rules: &Value) -> String {
    json!({
        "apiVersion": "operator.metalbear.co/v1alpha1",
        "kind": "SessionPolicy",
        "metadata": { "name": name },
        "spec": { "subjects": subjects, "deny": { "rules": rules } },
    })
    .to_string()
}

/// Applies a policy that is limited to a namespace, because other tests share the cluster.
async fn apply_deny_policy(namespace: &Namespace<'_>, verbs: &[&str], condition: &str) {
    let name = &namespace.name;
    let condition = format!("tracker.namespace == \"{name}\" && ({condition})");
    let rules = json!([{ "resources": ["session_tracker"], "verbs": verbs, "where": condition }]);
    let policy = policy(name, &json!([]), &rules);
    let apply = ["apply", "-f", "-"];
    namespace.cluster.admin(&apply, &policy).await.unwrap();
}

/// Returns two developers with RBAC permissions for sessions.
async fn create_developers(
    namespace: &Namespace<'static>,
    prefix: &str,
) -> (User<'static>, User<'static>) {
    let user = async |name: &str| {
        let user = namespace.user(&format!("{prefix}-{name}@example.com"), &[]);
        namespace.bind_role("mirrord-operator-user", &user.name).await;
        user
    };
    (user("alice").await, user("bob").await)
}

/// Deletes all sessions of the namespace in one request, and returns the response or the error.
async fn delete_collection(user: &User<'_>, query: &str) -> Result<String, String> {
    let path =
        format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions{query}", user.namespace());
    let output = user.kubectl(&["delete", "--raw", &path], "").await;
    if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

/// Asserts that a kubectl command is denied with a message, in a dry run and for real.
async fn assert_denied(user: &User<'_>, args: &[&str], text: &str) {
    eventually(&format!("{args:?} is denied: {text}"), || async {
        let output = user.kubectl(&[args, &["--dry-run=server"]].concat(), "").await;
        output.stderr.contains(text).then_some(())
    })
    .await;
    let output = user.kubectl(args, "").await;
    assert!(output.stderr.contains(text), "{output:?}");
    assert!(!output.stderr.contains("s3cret"), "{output:?}");
}

#[tokio::test]
async fn denies_deletion_of_others_sessions() {
    let namespace = create_namespace(shared(), "stopown").await;
    let (alice, bob) = create_developers(&namespace, "stopown").await;
    create_session(&alice, "hers", session_spec()).await;
    create_session(&bob, "his", session_spec()).await;
    apply_deny_policy(&namespace, &["delete"], "tracker.host_user != user.metadata.name").await;
    let rule = format!("denied by {} spec.deny.rules[0]", namespace.name);
    let delete = ["delete", "session", "hers"];
    assert_denied(&bob, &delete, &rule).await;
    let forbidden = delete_collection(&bob, "").await.unwrap_err();
    assert!(forbidden.contains(&rule), "{forbidden}");
    let output = alice.kubectl(&delete, "").await;
    assert!(output.status.success(), "{output:?}");
    // The remaining session belongs to bob.
    eventually("bob may delete the collection of his own sessions", || async {
        delete_collection(&bob, "").await.ok()
    })
    .await;
    assert!(namespace.sessions().await.is_empty());
    shared().admin(&["delete", "sessionpolicy", &namespace.name], "").await.unwrap();
}

#[tokio::test]
async fn denies_deletion_even_to_admins() {
    let prod = create_namespace(shared(), "stopprod").await;
    let (alice, _) = create_developers(&prod, "stopprod").await;
    create_session(&alice, "hers", session_spec()).await;
    apply_deny_policy(&prod, &["delete"], "true").await;
    let rule = format!("denied by {} spec.deny.rules[0]", prod.name);
    assert_denied(&alice, &["delete", "session", "hers"], &rule).await;
    // Policies also apply to administrators, who can change the policy instead.
    let admin = ["delete", "session", "hers", "-n", &prod.name];
    let error = shared().admin(&admin, "").await.unwrap_err().to_string();
    assert!(error.contains(&rule), "{error}");
    // The namespace can be deleted nevertheless.
    let delete_namespace = ["delete", "namespace", &prod.name, "--timeout=60s"];
    shared().admin(&delete_namespace, "").await.unwrap();
    shared().admin(&["delete", "sessionpolicy", &prod.name], "").await.unwrap();
}

#[tokio::test]
async fn deletion_does_not_reveal_hidden_sessions() {
    let hidden = create_namespace(shared(), "stophid").await;
    let (alice, bob) = create_developers(&hidden, "stophid").await;
    create_session(&alice, "hers", session_spec()).await;
    // Without a policy, a user who may join receives full objects in the response.
    let shown = delete_collection(&bob, "?dryRun=All").await.unwrap();
    assert!(shown.contains("s3cret"), "{shown}");
    apply_deny_policy(&hidden, &["read"], "tracker.host_user != user.metadata.name").await;
    let delete = ["delete", "session", "hers"];
    assert_denied(&bob, &delete, "sessions.operator.metalbear.co \"hers\" not found").await;
    // The plugin reports a hidden session like one that never existed.
    for id in ["hers", "missing"] {
        let output = bob.plugin(&["delete", id]).await;
        let expected = format!("sessions.operator.metalbear.co \"{id}\" not found in namespace");
        assert!(!output.status.success() && output.stderr.contains(&expected), "{output:?}");
    }
    for query in ["?dryRun=All", ""] {
        let refused = delete_collection(&bob, query).await.unwrap_err();
        assert!(refused.contains("delete them by name"), "{refused}");
        for secret in ["s3cret", "ip-visit-counter", "hers", "spec.deny", &alice.name] {
            assert!(!refused.contains(secret), "{refused}");
        }
    }
    assert_eq!(hidden.sessions().await.len(), 1);
    shared().admin(&["delete", "sessionpolicy", &hidden.name], "").await.unwrap();
}

/// Checks that a dry run, whose response contains the key, requires access to the key.
#[tokio::test]
async fn dry_run_delete_requires_access_to_key() {
    let namespace = create_namespace(shared(), "stoptry").await;
    let (alice, _) = create_developers(&namespace, "stoptry").await;
    create_session(&alice, "hers", session_spec()).await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "stoptry" },
        "rules": [{ "apiGroups": ["operator.metalbear.co"], "resources": ["sessions"], "verbs": ["delete", "deletecollection"] }],
    });
    shared().admin(&["create", "-f", "-"], &role.to_string()).await.unwrap();
    let janitor = namespace.user("stoptry-janitor@example.com", &[]);
    namespace.bind_role("stoptry", &janitor.name).await;
    eventually("the dry run is denied", || async {
        let refused = delete_collection(&janitor, "?dryRun=All").await.err()?;
        assert!(!refused.contains("s3cret"), "{refused}");
        refused.contains("returns its key and filters").then_some(())
    })
    .await;
    delete_collection(&alice, "?dryRun=All").await.unwrap();
    delete_collection(&janitor, "").await.unwrap();
    assert!(namespace.sessions().await.is_empty());
    shared().admin(&["delete", "clusterrole", "stoptry"], "").await.unwrap();
}

/// Checks that neither policies nor a dead webhook block cleanup by Kubernetes.
#[tokio::test]
async fn policies_never_block_cleanup() {
    let cluster = Cluster::start().await.unwrap();
    let rules = json!([{ "resources": ["*"], "verbs": ["*"] }]);
    let deny_all = policy("deny-all", &json!([]), &rules);
    for name in ["first", "second", "third"] {
        cluster.admin(&["create", "namespace", name], "").await.unwrap();
        let session = session_manifest("s", session_spec()).to_string();
        let create = ["create", "-n", name, "-f", "-"];
        cluster.admin(&create, &session).await.unwrap();
    }
    // The garbage collector, which no policy holds up, could delete an owned Session.
    let mut dependent = session_manifest("owned", session_spec());
    dependent["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "x" }]);
    let create = ["create", "-n", "third", "-f", "-"];
    let error = cluster.admin(&create, &dependent.to_string()).await.unwrap_err().to_string();
    assert!(error.contains("ownerReferences"), "{error}");
    cluster.admin(&["create", "-f", "-"], &deny_all).await.unwrap();
    eventually("the policy hides all sessions", || async {
        let delete = ["delete", "session", "s", "-n", "first", "--dry-run=server"];
        let error = cluster.admin(&delete, "").await.err()?;
        error.to_string().contains("not found").then_some(())
    })
    .await;
    cluster.admin(&["delete", "namespace", "first", "--timeout=60s"], "").await.unwrap();
    cluster.webhook.kill().unwrap();
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.admin(&["delete", "namespace", "second", "--timeout=60s"], "").await.unwrap();
    let crd = ["delete", "crd", mirrord_sessions_crds::SESSIONS, "--timeout=60s"];
    cluster.admin(&crd, "").await.unwrap();
}
