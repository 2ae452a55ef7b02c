//! Watches that resume from a resource version after policies have changed.

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

/// Returns the events of a one-second watch from a resource version.
async fn watch_from(user: &User<'_>, version: &str) -> String {
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
    assert_eq!(watch_from(&other, &before).await, "");

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
    for (args, is_visible) in [(["apply", "-f", "-"], false), (["delete", "-f", "-"], true)] {
        let before = version(&other).await;
        shared().admin(&args, &policy).await.unwrap();
        eventually("the policy is in force", || async {
            (raw(&other, "").await.contains("hers") == is_visible).then_some(())
        })
        .await;
        // The watch reports neither a deletion nor an addition, and the client must relist.
        let events: Value = serde_json::from_str(&watch_from(&other, &before).await).unwrap();
        assert_eq!((&events["type"], &events["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert!(!events.to_string().contains("hers"), "{events}");
        // Watches of other users are unaffected.
        let events = watch_from(&dev, &before).await;
        assert!(!events.contains("ERROR"), "{events}");
        // A later list returns a version to resume from, even without changes of sessions.
        let (list, events) = eventually("a watch resumes from the version of a list", || async {
            let list = raw(&other, "").await;
            let events = watch_from(&other, &version(&other).await).await;
            (!events.contains("ERROR")).then_some((list, events))
        })
        .await;
        assert_eq!((list.contains("hers"), events.as_str()), (is_visible, ""));
    }
}
