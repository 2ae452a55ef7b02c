//! Policies on stopping sessions: who may delete which, one by one, many at once, and only tried.

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

/// A policy about this namespace alone: others use the cluster too.
async fn apply(namespace: &Namespace<'_>, verbs: &[&str], condition: &str) {
    let name = &namespace.name;
    let condition = format!("tracker.namespace == \"{name}\" && ({condition})");
    let rules = json!([{ "resources": ["session_tracker"], "verbs": verbs, "where": condition }]);
    let policy = policy(name, &json!([]), &rules);
    let apply = ["apply", "-f", "-"];
    namespace.cluster.admin(&apply, &policy).await.unwrap();
}

/// Two developers, who may use sessions by RBAC.
async fn developers(
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

/// Deletes every session of the namespace in one request; what is answered, or the refusal.
async fn delete_collection(user: &User<'_>, query: &str) -> Result<String, String> {
    let path =
        format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions{query}", user.namespace());
    let output = user.kubectl(&["delete", "--raw", &path], "").await;
    if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

async fn refused(user: &User<'_>, args: &[&str], text: &str) {
    eventually(&format!("{args:?} is refused: {text}"), || async {
        let tried = user.kubectl(&[args, &["--dry-run=server"]].concat(), "").await;
        tried.stderr.contains(text).then_some(())
    })
    .await;
    let output = user.kubectl(args, "").await;
    assert!(output.stderr.contains(text), "{output:?}");
    assert!(!output.stderr.contains("s3cret"), "{output:?}");
}

#[tokio::test]
async fn denies_deletion_of_others_sessions() {
    let own = create_namespace(shared(), "stopown").await;
    let (alice, bob) = developers(&own, "stopown").await;
    create_session(&alice, "hers", session_spec()).await;
    create_session(&bob, "his", session_spec()).await;
    apply(&own, &["delete"], "tracker.host_user != user.metadata.name").await;
    let rule = format!("denied by {} spec.deny.rules[0]", own.name);
    let delete = ["delete", "session", "hers"];
    refused(&bob, &delete, &rule).await;
    let forbidden = delete_collection(&bob, "").await.unwrap_err();
    assert!(forbidden.contains(&rule), "{forbidden}");
    let output = alice.kubectl(&delete, "").await;
    assert!(output.status.success(), "{output:?}");
    // What is left is his.
    eventually("he may delete all that is his", || async {
        delete_collection(&bob, "").await.ok()
    })
    .await;
    assert!(own.sessions().await.is_empty());
    shared().admin(&["delete", "sessionpolicy", &own.name], "").await.unwrap();
}

#[tokio::test]
async fn denies_deletion_even_to_admins() {
    let prod = create_namespace(shared(), "stopprod").await;
    let (alice, _) = developers(&prod, "stopprod").await;
    create_session(&alice, "hers", session_spec()).await;
    apply(&prod, &["delete"], "true").await;
    let rule = format!("denied by {} spec.deny.rules[0]", prod.name);
    refused(&alice, &["delete", "session", "hers"], &rule).await;
    // Administrators too: who may write policies changes the policy.
    let admin = ["delete", "session", "hers", "-n", &prod.name];
    let error = shared().admin(&admin, "").await.unwrap_err().to_string();
    assert!(error.contains(&rule), "{error}");
    // And the namespace goes all the same.
    let gone = ["delete", "namespace", &prod.name, "--timeout=60s"];
    shared().admin(&gone, "").await.unwrap();
    shared().admin(&["delete", "sessionpolicy", &prod.name], "").await.unwrap();
}

#[tokio::test]
async fn deletion_does_not_reveal_hidden_sessions() {
    let hidden = create_namespace(shared(), "stophid").await;
    let (alice, bob) = developers(&hidden, "stophid").await;
    create_session(&alice, "hers", session_spec()).await;
    // Without a policy, who may join and delete is answered the whole object.
    let shown = delete_collection(&bob, "?dryRun=All").await.unwrap();
    assert!(shown.contains("s3cret"), "{shown}");
    apply(&hidden, &["read"], "tracker.host_user != user.metadata.name").await;
    let delete = ["delete", "session", "hers"];
    refused(&bob, &delete, "sessions.operator.metalbear.co \"hers\" not found").await;
    // The plugin says the same of it as of one that was never there.
    for id in ["hers", "nobodys"] {
        let told = bob.plugin(&["delete", id]).await;
        let expected = format!("sessions.operator.metalbear.co \"{id}\" not found in namespace");
        assert!(!told.status.success() && told.stderr.contains(&expected), "{told:?}");
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

/// The answer to a dry run holds the key of a session that lives on.
#[tokio::test]
async fn dry_run_delete_requires_access_to_key() {
    let tried = create_namespace(shared(), "stoptry").await;
    let (alice, _) = developers(&tried, "stoptry").await;
    create_session(&alice, "hers", session_spec()).await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "stoptry" },
        "rules": [{ "apiGroups": ["operator.metalbear.co"], "resources": ["sessions"], "verbs": ["delete", "deletecollection"] }],
    });
    shared().admin(&["create", "-f", "-"], &role.to_string()).await.unwrap();
    let janitor = tried.user("stoptry-janitor@example.com", &[]);
    tried.bind_role("stoptry", &janitor.name).await;
    eventually("a dry run is refused", || async {
        let refused = delete_collection(&janitor, "?dryRun=All").await.err()?;
        assert!(!refused.contains("s3cret"), "{refused}");
        refused.contains("holds its key and filters").then_some(())
    })
    .await;
    delete_collection(&alice, "?dryRun=All").await.unwrap();
    delete_collection(&janitor, "").await.unwrap();
    assert!(tried.sessions().await.is_empty());
    shared().admin(&["delete", "clusterrole", "stoptry"], "").await.unwrap();
}

/// Nothing that cleans up is stopped by a policy, nor by a process that is down.
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
    // One that its owner takes along.
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owner", "namespace": "third" } });
    let owner = cluster
        .admin(&["create", "-o", "jsonpath={.metadata.uid}", "-f", "-"], &owner.to_string())
        .await
        .unwrap();
    let mut taken_along = session_manifest("owned", session_spec());
    taken_along["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner }]);
    cluster.admin(&["create", "-n", "third", "-f", "-"], &taken_along.to_string()).await.unwrap();
    cluster.admin(&["create", "-f", "-"], &deny_all).await.unwrap();
    eventually("nothing may be deleted", || async {
        let delete = ["delete", "session", "s", "-n", "first", "--dry-run=server"];
        let error = cluster.admin(&delete, "").await.err()?;
        error.to_string().contains("not found").then_some(())
    })
    .await;
    cluster.admin(&["delete", "namespace", "first", "--timeout=60s"], "").await.unwrap();
    cluster.admin(&["delete", "configmap", "owner", "-n", "third"], "").await.unwrap();
    eventually("the garbage collector takes along what is owned", || async {
        let get = ["get", "session", "owned", "-n", "third"];
        cluster.admin(&get, "").await.err().map(|_| ())
    })
    .await;
    cluster.webhook.kill().unwrap();
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.admin(&["delete", "namespace", "second", "--timeout=60s"], "").await.unwrap();
    let crd = ["delete", "crd", mirrord_sessions_crds::SESSIONS, "--timeout=60s"];
    cluster.admin(&crd, "").await.unwrap();
}
