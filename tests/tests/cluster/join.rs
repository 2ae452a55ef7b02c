//! The `join` subresource of trackers, and the visibility of session keys.

use serde_json::{Value, json};

use crate::support::{
    SESSION_JOIN, User, create_developer, create_session, eventually, post, session_spec, shared,
    tracker_path, trackers_path, wait_for_output,
};

async fn tracker(user: &User<'_>, name: &str) -> Value {
    let output = user.kubectl(&["get", "mst", name, "-o", "json"], "").await;
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn join_adds_participant_and_returns_key() {
    let (namespace, dev) = create_developer(shared(), "joining").await;
    create_session(&dev, "one", session_spec()).await;
    let joiner = namespace.user("joining-friend@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &joiner.name).await;
    wait_for_output(&joiner, &["get", "mst"], "one").await;
    let join = tracker_path(&namespace.name, "one", "/join");

    // A dry run changes nothing.
    let response = post(&joiner, &format!("{join}?dryRun=All"), SESSION_JOIN).await.unwrap();
    assert_eq!(response["status"]["participants"][1], "joining-friend@example.com");
    let sessions = namespace.sessions().await;
    let participants = &sessions[0]["status"]["participants"];
    assert!(participants.is_null(), "{participants}");

    let response = post(&joiner, &join, SESSION_JOIN).await.unwrap();
    assert_eq!(
        response,
        json!({
            "apiVersion": "visibility.operator.metalbear.co/v1",
            "kind": "SessionJoin",
            "metadata": { "name": "one", "namespace": namespace.name },
            "status": {
                "key": "s3cret",
                "header": { "name": "baggage", "value": "mirrord-session=s3cret" },
                "participants": [dev.name, joiner.name],
            },
        })
    );
    let session = namespace.sessions().await.remove(0);
    assert_eq!(session["status"]["participants"], json!([joiner.name]));
    assert_eq!(session["status"]["state"], "pending");
    eventually("the tracker lists the new participant", || async {
        let participants = &tracker(&dev, "one").await["status"]["participants"];
        (*participants == json!([dev.name, joiner.name])).then_some(())
    })
    .await;
    // Joining again or as the owner changes nothing.
    for user in [&joiner, &dev] {
        let again = post(user, &join, SESSION_JOIN).await.unwrap();
        assert_eq!(again["status"], response["status"], "{}", user.name);
    }
    assert_eq!(
        namespace.sessions().await[0]["metadata"]["resourceVersion"],
        session["metadata"]["resourceVersion"]
    );
}

/// Checks that no participant is lost when several users join at the same time.
#[tokio::test]
async fn accepts_concurrent_joins() {
    let (namespace, dev) = create_developer(shared(), "crowd").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let path = tracker_path(&namespace.name, "one", "/join");
    let mut names: Vec<String> = (0..4).map(|n| format!("crowd-{n}@example.com")).collect();
    let mut users = Vec::new();
    for name in &names {
        namespace.bind_role("mirrord-operator-user", name).await;
        users.push(namespace.user(name, &[]));
    }
    let requests = users.iter().map(|user| post(user, &path, SESSION_JOIN));
    for answer in futures::future::join_all(requests).await {
        answer.unwrap();
    }
    let session = namespace.sessions().await.remove(0);
    let mut participants: Vec<String> =
        serde_json::from_value(session["status"]["participants"].clone()).unwrap();
    participants.sort();
    names.sort();
    assert_eq!(participants, names);
}

/// Checks that RBAC permission to join reveals keys, and that open watches follow its changes.
#[tokio::test]
async fn join_permission_reveals_keys() {
    let (namespace, dev) = create_developer(shared(), "joinright").await;
    create_session(&dev, "one", session_spec()).await;
    let auditor = namespace.user("joinright-auditor@example.com", &[]);
    namespace.bind_role("mirrord-operator-auditor", &auditor.name).await;
    wait_for_output(&auditor, &["get", "mst"], "one").await;
    assert!(tracker(&auditor, "one").await["spec"]["key"].is_null());
    let join = tracker_path(&namespace.name, "one", "/join");
    let refused = post(&auditor, &join, SESSION_JOIN).await.unwrap_err();
    assert!(refused.contains("Forbidden"), "{refused}");

    let file = shared().plane.folder().join(format!("{}.watch", namespace.name));
    let mut command = shared().plane.kubectl_command(auditor.kubeconfig());
    let events = trackers_path(&namespace.name) + "?watch=1";
    command.args(["get", "--raw", &events]).stdout(std::fs::File::create(&file).unwrap());
    let mut child = command.spawn().unwrap();
    shared().plane.adopt(&child).unwrap();
    let assert_event = async |index: usize, is_revealed: bool| {
        eventually(&format!("event {index} contains the key: {is_revealed}"), || async {
            let events = std::fs::read_to_string(&file).unwrap();
            let event = events.lines().nth(index)?;
            (event.contains("s3cret") == is_revealed).then_some(())
        })
        .await;
    };
    assert_event(0, false).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": "may-join", "namespace": namespace.name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mirrord-operator-user" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": auditor.name }],
    });
    let create = ["create", "-f", "-"];
    shared().admin(&create, &binding.to_string()).await.unwrap();
    assert_event(1, true).await;
    let delete = ["delete", "rolebinding", "may-join", "-n", &namespace.name];
    shared().admin(&delete, "").await.unwrap();
    assert_event(2, false).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn rejects_invalid_and_unauthorized_joins() {
    let (namespace, dev) = create_developer(shared(), "joinbad").await;
    create_session(&dev, "one", session_spec()).await;
    let joiner = namespace.user("joinbad-friend@example.com", &["joinbad-friends"]);
    namespace.bind_role("mirrord-operator-user", &joiner.name).await;
    let unprivileged = namespace.user("joinbad-nobody@example.com", &[]);
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let join = tracker_path(&namespace.name, "one", "/join");
    let huge = format!("{SESSION_JOIN}{}", " ".repeat(300 << 10));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    for (name, user, path, body, text) in [
        ("no permission", &unprivileged, &join, SESSION_JOIN, "Forbidden"),
        (
            "no such session",
            &joiner,
            &join.replace("/one/", "/two/"),
            SESSION_JOIN,
            "\"two\" not found",
        ),
        (
            "wrong kind",
            &joiner,
            &join,
            "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}",
            "is not a SessionJoin",
        ),
        ("not JSON", &joiner, &join, "a: b", "is not a SessionJoin"),
        ("JSON array", &joiner, &join, "[]", "is not a SessionJoin"),
        ("deeply nested", &joiner, &join, &deep, "is not a SessionJoin"),
        ("too large", &joiner, &join, &huge, "over 256 KiB"),
        ("invalid dryRun", &joiner, &format!("{join}?dryRun=maybe"), SESSION_JOIN, "dryRun"),
        (
            "post to the collection",
            &joiner,
            &join.replace("/one/join", ""),
            SESSION_JOIN,
            "orbidden",
        ),
        ("unknown subresource", &joiner, &join.replace("join", "kill"), SESSION_JOIN, "orbidden"),
    ] {
        let refused = post(user, path, body).await.unwrap_err();
        assert!(refused.contains(text), "{name}: {refused:.600}");
    }
    let read = joiner.kubectl(&["get", "--raw", &join], "").await;
    assert!(!read.status.success(), "{read:?}");

    // One policy hides the session, another denies only joins.
    for (verb, text) in
        [("read", "\"one\" not found"), ("join", "denied by joinbad spec.deny.rules[0]")]
    {
        let policy = json!({
            "apiVersion": "operator.metalbear.co/v1alpha1",
            "kind": "SessionPolicy",
            "metadata": { "name": "joinbad" },
            "spec": {
                "subjects": [{ "kind": "Group", "name": "joinbad-friends" }],
                "deny": { "rules": [{ "resources": ["session_tracker"], "verbs": [verb] }] },
            },
        });
        shared().admin(&["apply", "-f", "-"], &policy.to_string()).await.unwrap();
        eventually(&format!("the join is denied: {text}"), || async {
            let refused = post(&joiner, &join, SESSION_JOIN).await.err()?;
            refused.contains(text).then_some(())
        })
        .await;
    }
    shared().admin(&["delete", "sessionpolicy", "joinbad"], "").await.unwrap();
    let participants = &namespace.sessions().await[0]["status"]["participants"];
    assert!(participants.is_null() || *participants == json!([joiner.name]), "{participants}");
}

/// Checks that discovery and OpenAPI describe the subresources.
#[tokio::test]
async fn discovery_and_openapi_list_subresources() {
    let raw = async |path: &str| {
        let output = shared().admin(&["get", "--raw", path], "").await.unwrap();
        serde_json::from_str::<Value>(&output).unwrap()
    };
    let group = "/apis/visibility.operator.metalbear.co/v1";
    let resources = raw(group).await;
    let find = |name: &str| {
        let found = resources["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|resource| resource["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {resources}")).clone()
    };
    for (name, kind) in [("join", "SessionJoin"), ("report", "SessionReport")] {
        let resource = find(&format!("sessiontrackers/{name}"));
        assert_eq!((&resource["kind"], &resource["verbs"]), (&json!(kind), &json!(["create"])));
        let path = format!("{group}/namespaces/{{namespace}}/sessiontrackers/{{name}}/{name}");
        for document in ["/openapi/v2", &format!("/openapi/v3{group}")] {
            eventually(&format!("{document} describes {name}"), || async {
                let document = raw(document).await;
                let post = &document["paths"][&path]["post"];
                (post["x-kubernetes-group-version-kind"]["kind"] == kind).then_some(())
            })
            .await;
        }
    }
}
