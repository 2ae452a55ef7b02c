//! The resource itself, as kubectl and the API server see it.

use serde_json::{Value, json};

use crate::support::{namespace, session, shared};

#[tokio::test]
async fn kubectl_get_reads_like_mirrords_status_table() {
    let namespace = namespace(shared(), "columns").await;
    let dev = namespace.person("aviram@metalbear.co", &[]);
    namespace.bind("mirrord-operator-user", &dev.name).await;
    namespace.let_read_sessions(&dev.name).await;
    let client =
        json!({ "username": "Aviram Hassan", "hostname": "mac.local", "version": "3.250.0" });
    let manifest =
        session("487f4f2b6d2376ad", json!({ "target": "deployment/a", "client": client }));
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
    // A new Session is pending although nobody wrote its status yet.
    assert!(output.contains("pending"), "{output}");
    for name in ["msn", "mirrord", "session", "sessions.v1.operator.metalbear.co"] {
        let output = dev.kubectl(&["get", name, "-o", "name"], "").await;
        // The category holds the session's tracker too.
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
async fn sessions_are_selected_by_target_and_owner() {
    let namespace = namespace(shared(), "selectors").await;
    for (person, name, target) in
        [("ann", "a", "deployment/x"), ("bob", "b", "deployment/x"), ("bob", "c", "pod/y")]
    {
        let person = namespace.person(person, &[]);
        if name != "c" {
            namespace.bind("mirrord-operator-user", &person.name).await;
        }
        let output = person
            .kubectl(
                &["create", "-f", "-"],
                &session(name, json!({ "target": target })).to_string(),
            )
            .await;
        assert!(output.status.success(), "{output:?}");
    }
    let ann = namespace.person("ann", &[]);
    namespace.let_read_sessions(&ann.name).await;
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
async fn labels_have_a_bound() {
    let namespace = namespace(shared(), "labels").await;
    let dev = namespace.person("dev", &[]);
    namespace.bind("mirrord-operator-user", &dev.name).await;
    for (count, fits) in [(64, true), (65, false)] {
        let mut manifest = session(&format!("l{count}"), json!({ "target": "targetless" }));
        let labels = (0..count).map(|at| (format!("l{at}"), json!("x")));
        manifest["metadata"]["labels"] = labels.collect::<serde_json::Map<_, _>>().into();
        let output = dev.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
        assert_eq!(output.status.success(), fits, "{output:?}");
        assert_eq!(output.stderr.contains("64 labels at most"), !fits, "{output:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_the_schema_is_refused_in_words() {
    let namespace = namespace(shared(), "schema").await;
    let dev = namespace.person("dev", &[]);
    namespace.bind("mirrord-operator-user", &dev.name).await;
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
                &session("s", spec.clone()).to_string(),
            )
            .await;
        assert!(!output.status.success() && output.stderr.contains(expected), "{spec}: {output:?}");
    }
    for target in ["targetless", "pod/a.b.c", "deployment/a/container/b", "cronjob/a-1"] {
        let manifest = session("s", json!({ "target": target }));
        let output =
            dev.kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest.to_string()).await;
        assert!(output.status.success(), "{target}: {output:?}");
    }
}

#[tokio::test]
async fn a_user_of_many_groups_is_not_locked_out() {
    let cluster = shared();
    let namespace = namespace(cluster, "groups").await;
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
            &session("s", json!({ "target": "a/b" })).to_string(),
        )
        .await
        .unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    let created: Value = serde_json::from_str(&output.stdout).unwrap();
    // And system:masters, and system:authenticated, which the API server adds.
    assert_eq!(created["spec"]["owner"]["groups"].as_array().unwrap().len(), 1502);
}

#[tokio::test]
async fn user_names_of_every_kind_own_sessions() {
    let namespace = namespace(shared(), "names").await;
    let names =
        ["Zoë Ünïcode", "oidc:https://issuer/#sub|1", "a/b@c", "名前", "quote'\"\\", "a b  c"];
    for (number, name) in names.into_iter().enumerate() {
        let person = namespace.person(name, &["group with spaces", "ünïcode"]);
        namespace.bind("mirrord-operator-user", name).await;
        let manifest = session(
            &format!("s{number}"),
            json!({ "target": "a/b", "client": { "username": "who", "hostname": "host" } }),
        );
        let output =
            person.kubectl(&["create", "-o", "json", "-f", "-"], &manifest.to_string()).await;
        assert!(output.status.success(), "{name}: {output:?}");
        let created: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(created["spec"]["owner"]["username"], name);
        assert_eq!(created["spec"]["user"], format!("who/{name}@host"));
    }
}

#[tokio::test]
async fn spec_is_immutable_and_status_is_not_taken_on_create() {
    let cluster = shared();
    let namespace = namespace(cluster, "immutable").await;
    let mut manifest =
        session("s", json!({ "target": "deployment/a", "client": { "version": "1" } }));
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
async fn kubectl_explains_every_field() {
    let cluster = shared();
    for (field, expected) in [
        ("session", "Delete it to stop the run"),
        ("session.spec.owner", "as the API server authenticated them"),
        ("session.spec.client", "not verified by anybody"),
        ("session.status.ports", "steals or mirrors"),
    ] {
        let explained = cluster.admin(&["explain", field], "").await.unwrap();
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(explained.contains(expected), "{field}: {explained}");
    }
}
