//! Watches that go on where they were, after policies have changed.

use serde_json::{Value, json};

use crate::support::{
    User, create_developer, create_session, eventually, session_spec, shared, trackers_path,
    wait_for_output,
};

async fn raw(user: &User<'_>, query: &str) -> String {
    let path = format!("{}{query}", trackers_path(user.namespace()));
    let output = user.kubectl(&["get", "--raw", &path], "").await;
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

async fn version(user: &User<'_>) -> String {
    let list: Value = serde_json::from_str(&raw(user, "").await).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().into()
}

/// What a watch from a version tells within a second.
async fn from(user: &User<'_>, version: &str) -> String {
    let query = format!("?watch=1&timeoutSeconds=1&resourceVersion={version}");
    raw(user, &query).await
}

#[tokio::test]
async fn resumed_watch_returns_410_after_visibility_change() {
    let (namespace, dev) = create_developer(shared(), "resumed").await;
    let other = namespace.user("resumed-other@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &other.name).await;
    create_session(&dev, "hers", session_spec()).await;
    wait_for_output(&other, &["get", "mst"], "hers").await;
    let before = version(&other).await;
    assert_eq!(from(&other, &before).await, "");

    let policy = json!({
        "apiVersion": "operator.metalbear.co/v1alpha1",
        "kind": "SessionPolicy",
        "metadata": { "name": namespace.name },
        "spec": {
            "subjects": [{ "kind": "User", "name": other.name }],
            "deny": { "rules": [{
                "resources": ["session_tracker"], "verbs": ["list"],
                "where": format!("tracker.namespace == '{}'", namespace.name),
            }] },
        },
    });
    let policy = policy.to_string();
    for (args, sees) in [(["apply", "-f", "-"], false), (["delete", "-f", "-"], true)] {
        let before = version(&other).await;
        shared().admin(&args, &policy).await.unwrap();
        eventually("the policy is in force", || async {
            (raw(&other, "").await.contains("hers") == sees).then_some(())
        })
        .await;
        // Neither that it went nor that it came is told: the client is to list.
        let told: Value = serde_json::from_str(&from(&other, &before).await).unwrap();
        assert_eq!((&told["type"], &told["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert!(!told.to_string().contains("hers"), "{told}");
        // Of nobody else anything has changed.
        let told = from(&dev, &before).await;
        assert!(!told.contains("ERROR"), "{told}");
        // Soon a list has a version to go on from, though no session changes.
        let (list, told) = eventually("a list to go on from", || async {
            let list = raw(&other, "").await;
            let told = from(&other, &version(&other).await).await;
            (!told.contains("ERROR")).then_some((list, told))
        })
        .await;
        assert_eq!((list.contains("hers"), told.as_str()), (sees, ""));
    }
}
