//! The Session resource: printer columns, selectors, schema and immutability.

use serde_json::{Value, json};

use crate::support::{create_namespace, session_manifest, shared};

#[tokio::test]
async fn kubectl_get_prints_columns_of_mirrord_status() {
    let namespace = create_namespace(shared(), "columns").await;
    let dev = namespace.user("aviram@metalbear.co", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    namespace.grant_session_reads(&dev.name).await;
    let client =
        json!({ "username": "Aviram Hassan", "hostname": "mac.local", "version": "3.250.0" });
    let manifest =
        session_manifest("487f4f2b6d2376ad", json!({ "target": "deployment/a", "client": client }));
    let output = dev.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
    assert!(output.status.success(), "{output:?}");

    let columns = |output: &str| -> Vec<String> {
        let header = output.lines().next().unwrap_or_default();
        header
            .split("   ")
            .map(str::trim)
            .filter(|column| !column.is_empty())
            .map(Into::into)
            .collect()
    };
    let output = dev.kubectl(&["get", "sessions"], "").await.stdout;
    assert_eq!(columns(&output), ["NAME", "TARGET", "USER", "PORTS", "SESSION DURATION"]);
    assert!(output.contains("Aviram Hassan/aviram@metalbear.co@mac.local"), "{output}");
    let output = dev.kubectl(&["get", "sessions", "-o", "wide"], "").await.stdout;
    assert_eq!(
        columns(&output),
        [
            "NAME",
            "TARGET",
            "USER",
            "PORTS",
            "SESSION DURATION",
            "STATE",
            "VERSION",
            "AGENT",
            "NODE",
            "MESSAGE"
        ]
    );
    // A new Session is pending by the default of the schema.
    assert!(output.contains("pending"), "{output}");
    for name in ["msn", "mirrord", "session", "sessions.v1.operator.metalbear.co"] {
        let output = dev.kubectl(&["get", name, "-o", "name"], "").await;
        // The category `mirrord` also contains the tracker.
        let found: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(
            found.first(),
            Some(&"session.operator.metalbear.co/487f4f2b6d2376ad"),
            "{name}: {output:?}"
        );
        assert_eq!(found.len() == 1, name != "mirrord", "{name}: {output:?}");
    }
}

#[tokio::test]
async fn selects_sessions_by_target_and_owner() {
    let namespace = create_namespace(shared(), "selectors").await;
    for (user, name, target) in
        [("ann", "a", "deployment/x"), ("bob", "b", "deployment/x"), ("bob", "c", "pod/y")]
    {
        let user = namespace.user(user, &[]);
        if name != "c" {
            namespace.bind_role("mirrord-operator-user", &user.name).await;
        }
        let output = user
            .kubectl(
                &["create", "-f", "-"],
                &session_manifest(name, json!({ "target": target })).to_string(),
            )
            .await;
        assert!(output.status.success(), "{output:?}");
    }
    let ann = namespace.user("ann", &[]);
    namespace.grant_session_reads(&ann.name).await;
    for (selector, expected) in [
        ("spec.target=deployment/x", "a b"),
        ("spec.owner.username=bob", "b c"),
        ("spec.owner.username=bob,spec.target=pod/y", "c"),
        ("spec.owner.username!=bob", "a"),
    ] {
        let output = ann
            .kubectl(
                &[
                    "get",
                    "sessions",
                    "--field-selector",
                    selector,
                    "-o",
                    "jsonpath={.items[*].metadata.name}",
                ],
                "",
            )
            .await;
        assert_eq!(output.stdout, expected, "{selector}: {output:?}");
    }
}

#[tokio::test]
async fn rejects_more_than_64_labels() {
    let namespace = create_namespace(shared(), "labels").await;
    let dev = namespace.user("dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    for (count, fits) in [(64, true), (65, false)] {
        let mut manifest =
            session_manifest(&format!("l{count}"), json!({ "target": "targetless" }));
        let labels = (0..count).map(|at| (format!("l{at}"), json!("x")));
        manifest["metadata"]["labels"] = labels.collect::<serde_json::Map<_, _>>().into();
        let output = dev.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
        assert_eq!(output.status.success(), fits, "{output:?}");
        assert_eq!(output.stderr.contains("64 labels at most"), !fits, "{output:?}");
    }
}

#[tokio::test]
async fn rejects_invalid_spec_with_field_path() {
    let namespace = create_namespace(shared(), "schema").await;
    let dev = namespace.user("dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    let long = "x".repeat(254);
    let cases = [
        (json!({}), "spec.target: Required value"),
        (json!({ "target": "" }), "spec.target"),
        (json!({ "target": 7 }), "spec.target"),
        (json!({ "target": "deployment" }), "spec.target"),
        (json!({ "target": "deployment/UPPER" }), "spec.target"),
        (json!({ "target": "deployment/a/container/" }), "spec.target"),
        (json!({ "target": "deployment/a\u{1b}[31m" }), "spec.target"),
        (json!({ "target": "a/b", "client": { "username": "a/b" } }), "spec.client.username"),
        (json!({ "target": "a/b", "client": { "username": "a\nb" } }), "spec.client.username"),
        (json!({ "target": "a/b", "client": { "username": 7 } }), "spec.client.username"),
        (json!({ "target": "a/b", "client": { "hostname": "a@b" } }), "spec.client.hostname"),
        (json!({ "target": "a/b", "client": { "hostname": long } }), "spec.client.hostname"),
        (json!({ "target": "a/b", "key": "" }), "spec.key"),
        (json!({ "target": "a/b", "colour": "red" }), "unknown field \"spec.colour\""),
    ];
    for (spec, expected) in cases {
        let output = dev
            .kubectl(
                &["create", "--validate=strict", "-f", "-"],
                &session_manifest("s", spec.clone()).to_string(),
            )
            .await;
        assert!(!output.status.success() && output.stderr.contains(expected), "{spec}: {output:?}");
    }
    for target in ["targetless", "pod/a.b.c", "deployment/a/container/b", "cronjob/a-1"] {
        let manifest = session_manifest("s", json!({ "target": target }));
        let output =
            dev.kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest.to_string()).await;
        assert!(output.status.success(), "{target}: {output:?}");
    }
}

#[tokio::test]
async fn accepts_user_with_1500_groups() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "groups").await;
    let groups: Vec<String> =
        (0..1500).map(|n| format!("--as-group=department-{n:04}:with-quite-a-long-name")).collect();
    let mut args = vec![
        "-n",
        &namespace.name,
        "--as=popular",
        "create",
        "-o",
        "json",
        "-f",
        "-",
        "--as-group=system:masters",
    ];
    args.extend(groups.iter().map(String::as_str));
    let output = cluster
        .plane
        .kubectl_with_input(
            cluster.plane.admin().path(),
            &args,
            &session_manifest("s", json!({ "target": "a/b" })).to_string(),
        )
        .await
        .unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    let created: Value = serde_json::from_str(&output.stdout).unwrap();
    // The API server adds system:authenticated to the 1500 groups and system:masters.
    assert_eq!(created["spec"]["owner"]["groups"].as_array().unwrap().len(), 1502);
}

#[tokio::test]
async fn accepts_unusual_user_names() {
    let namespace = create_namespace(shared(), "names").await;
    let names =
        ["Zoë Ünïcode", "oidc:https://issuer/#sub|1", "a/b@c", "名前", "quote'\"\\", "a b  c"];
    for (number, name) in names.into_iter().enumerate() {
        let user = namespace.user(name, &["group with spaces", "ünïcode"]);
        namespace.bind_role("mirrord-operator-user", name).await;
        let manifest = session_manifest(
            &format!("s{number}"),
            json!({ "target": "a/b", "client": { "username": "who", "hostname": "host" } }),
        );
        let output =
            user.kubectl(&["create", "-o", "json", "-f", "-"], &manifest.to_string()).await;
        assert!(output.status.success(), "{name}: {output:?}");
        let created: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(created["spec"]["owner"]["username"], name);
        assert_eq!(created["spec"]["user"], format!("who/{name}@host"));
    }
}

#[tokio::test]
async fn denies_spec_changes_and_ignores_status_on_create() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "immutable").await;
    let mut manifest =
        session_manifest("s", json!({ "target": "deployment/a", "client": { "version": "1" } }));
    manifest["status"] = json!({ "state": "running", "participants": ["mallory"] });
    cluster
        .admin(&["create", "-n", &namespace.name, "-f", "-"], &manifest.to_string())
        .await
        .unwrap();
    let stored = namespace.sessions().await.remove(0);
    assert_eq!(stored["status"], json!({ "state": "pending" }));
    for patch in [
        r#"{"spec":{"target":"deployment/b"}}"#,
        r#"{"spec":{"client":{"version":"2"}}}"#,
        r#"{"spec":{"client":null}}"#,
        r#"{"spec":{"key":"k"}}"#,
    ] {
        let error = cluster
            .admin(
                &["patch", "session", "s", "-n", &namespace.name, "--type=merge", "-p", patch],
                "",
            )
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("immutable: delete the Session and create another"),
            "{patch}: {error}"
        );
    }
}

#[tokio::test]
async fn kubectl_explain_describes_fields() {
    let cluster = shared();
    for (field, expected) in [
        ("session", "Delete the Session to stop the run"),
        ("session.spec.owner", "as authenticated by the API server"),
        ("session.spec.client", "not verified"),
        ("session.status.ports", "steals or mirrors"),
    ] {
        let explained = cluster.admin(&["explain", field], "").await.unwrap();
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(explained.contains(expected), "{field}: {explained}");
    }
}
