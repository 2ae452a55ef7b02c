//! Session trackers, served through the aggregator.

use std::time::Duration;

use mirrord_sessions_crds::CONTROLLER_USERNAME;
use serde_json::{Value, json};

use crate::support::{
    create_developer, create_session, eventually, session_spec, shared, trackers_path,
    wait_for_output,
};

#[tokio::test]
async fn kubectl_reads_trackers_like_builtin_resources() {
    let (namespace, dev) = create_developer(shared(), "tracked").await;
    create_session(&dev, "487f4f2b6d2376ad", session_spec()).await;
    create_session(&dev, "aaaaaaaaaaaaaaaa", json!({ "target": "targetless" })).await;
    create_session(&dev, "bbbbbbbbbbbbbbbb", json!({ "target": "pod/x" })).await;

    let table = wait_for_output(&dev, &["get", "mst"], "BBBBBBBBBBBBBBBB").await;
    let header: Vec<&str> = table.lines().next().unwrap().split("  ").collect();
    let header: Vec<&str> = header.iter().map(|h| h.trim()).filter(|h| !h.is_empty()).collect();
    assert_eq!(header, ["SESSION ID", "TARGET", "USER", "PORTS", "SESSION DURATION", "STATE"]);
    assert!(table.contains("Aviram Hassan/tracked@example.com@mac.local"), "{table}");
    let wide = wait_for_output(&dev, &["get", "mst", "-o", "wide"], "KIND").await;
    assert!(wide.contains("process") && wide.contains("3.250.0"), "{wide}");
    let everywhere = shared().admin(&["get", "sessiontrackers", "-A"], "").await.unwrap();
    assert!(everywhere.contains(&namespace.name), "{everywhere}");
    assert!(everywhere.starts_with("NAMESPACE"), "{everywhere}");

    let name = ["get", "mst", "487F4F2B6D2376AD", "-o", "name"];
    wait_for_output(
        &dev,
        &name,
        "sessiontracker.visibility.operator.metalbear.co/487f4f2b6d2376ad",
    )
    .await;
    let yaml =
        wait_for_output(&dev, &["get", "mst", "487f4f2b6d2376ad", "-o", "yaml"], "s3cret").await;
    assert!(yaml.contains("apiVersion: visibility.operator.metalbear.co/v1"), "{yaml}");
    let list = dev.kubectl(&["get", "mst", "-o", "json"], "").await.stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let tracker = &list["items"][0];
    assert_eq!(tracker["spec"]["sessionId"], "487F4F2B6D2376AD");
    let sessions = namespace.sessions().await;
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert_eq!(tracker["metadata"][field], sessions[0]["metadata"][field]);
    }

    for (args, expected) in [
        (&["-l", "run=487f4f2b6d2376ad"][..], 1),
        (&["-l", "run notin (487f4f2b6d2376ad)"], 2),
        (&["--field-selector", "metadata.name=bbbbbbbbbbbbbbbb"], 1),
        (&["--field-selector", "spec.target!=pod/x,status.state=pending"], 2),
        (&["--field-selector", "spec.owner.username=tracked@example.com"], 3),
        (&["--field-selector", "spec.key=s3cret"], 1),
        (&["--chunk-size", "1"], 3),
        (&["--sort-by", ".spec.target"], 3),
        (&["-L", "run"], 3),
    ] {
        let output = dev.kubectl(&[&["get", "mst", "--no-headers"], args].concat(), "").await;
        assert_eq!(output.stdout.lines().count(), expected, "{args:?}: {output:?}");
    }
    let refused = dev.kubectl(&["get", "mst", "--field-selector", "spec.nothing=1"], "").await;
    assert!(refused.stderr.contains("field label not supported: spec.nothing"), "{refused:?}");
    let missing = dev.kubectl(&["get", "mst", "nothing"], "").await;
    assert_eq!(
        missing.stderr,
        "Error from server (NotFound): sessiontrackers.visibility.operator.metalbear.co \"nothing\" not found\n"
    );

    wait_for_output(&dev, &["describe", "mst", "487f4f2b6d2376ad"], "Session Id:").await;
    let explained =
        wait_for_output(&dev, &["explain", "sessiontrackers.spec.sessionId"], "DESCRIPTION").await;
    assert!(explained.contains("upper case"), "{explained}");
    let resources =
        ["api-resources", "--api-group=visibility.operator.metalbear.co", "--no-headers"];
    let resources = wait_for_output(&dev, &resources, "SessionTracker").await;
    let words: Vec<&str> = resources.split_whitespace().collect();
    assert_eq!(
        words,
        ["sessiontrackers", "mst", "visibility.operator.metalbear.co/v1", "true", "SessionTracker"]
    );
    for args in [
        &["wait", "mst/487f4f2b6d2376ad", "--for=jsonpath={.status.state}=pending"][..],
        &["wait", "mst/nothing", "--for=delete", "--timeout=5s"],
    ] {
        let output = dev.kubectl(args, "").await;
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

#[tokio::test]
async fn denies_writes_and_unauthorized_reads() {
    let (namespace, dev) = create_developer(shared(), "readonly").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let admin = shared().plane.admin().path();
    for args in [
        &["delete", "mst", "one"][..],
        &["delete", "mst", "--all"],
        &["label", "mst", "one", "a=b"],
        &["patch", "mst", "one", "--type=merge", "-p", "{}"],
    ] {
        let args = [&["-n", &namespace.name], args].concat();
        let output = shared().plane.kubectl(admin, &args).await.unwrap();
        assert!(output.stderr.contains("does not allow this method"), "{args:?}: {output:?}");
    }
    let unprivileged = namespace.user("trackers-nobody", &[]);
    let output = unprivileged.kubectl(&["get", "mst"], "").await;
    assert!(output.stderr.contains("Forbidden"), "{output:?}");
    let elsewhere = dev.kubectl(&["get", "mst", "-A"], "").await;
    assert!(elsewhere.stderr.contains("Forbidden"), "{elsewhere:?}");
    // Trackers do not block the deletion of the namespace.
    let delete_namespace = ["delete", "namespace", &namespace.name, "--timeout=60s"];
    shared().admin(&delete_namespace, "").await.unwrap();
}

#[tokio::test]
async fn redacts_key_and_filters_for_non_participants() {
    let (namespace, dev) = create_developer(shared(), "redacted").await;
    create_session(&dev, "one", session_spec()).await;
    let status = json!({ "status": {
        "state": "running",
        "participants": ["joined@example.com"],
        "ports": [{ "port": 80, "type": "steal", "filter": "header=s3cret" }],
        "portSummary": "Port: 80, Type: steal, Filter: header=s3cret",
    }});
    let patch = [
        "patch",
        "session",
        "one",
        "-n",
        &namespace.name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
        &format!("--as={CONTROLLER_USERNAME}"),
        "--as-group=system:masters",
    ];
    shared().admin(&patch, "").await.unwrap();
    let (joined, other) =
        (namespace.user("joined@example.com", &[]), namespace.user("other@example.com", &[]));
    namespace.bind_role("mirrord-operator-user", &joined.name).await;
    // The user role allows joins and therefore reveals keys, but the auditor role does not.
    namespace.bind_role("mirrord-operator-auditor", &other.name).await;
    for user in [&dev, &other] {
        wait_for_output(user, &["get", "mst", "-o", "json"], "running").await;
    }
    for format in ["json", "yaml", "wide", "custom-columns=A:.spec,B:.status"] {
        for (user, is_visible) in [(&dev, true), (&joined, true), (&other, false)] {
            for args in [&["get", "mst", "-o", format][..], &["get", "mst", "one", "-o", format]] {
                let output = user.kubectl(args, "").await;
                assert!(output.status.success(), "{output:?}");
                assert_eq!(
                    output.stdout.contains("s3cret"),
                    is_visible,
                    "{} {args:?}: {}",
                    user.name,
                    output.stdout
                );
            }
        }
    }
    for (user, count) in [(&dev, 1), (&other, 0)] {
        let args = ["get", "mst", "--field-selector=spec.key=s3cret", "--no-headers"];
        let output = user.kubectl(&args, "").await;
        assert_eq!(output.stdout.lines().count(), count, "{}", user.name);
    }
}

#[tokio::test]
async fn kubectl_watch_prints_changes() {
    let (namespace, dev) = create_developer(shared(), "watched").await;
    create_session(&dev, "first", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "first").await;
    let file = shared().plane.folder().join(format!("{}.watch", namespace.name));
    let output = std::fs::File::create(&file).unwrap();
    let mut command = shared().plane.kubectl_command(dev.kubeconfig());
    command
        .args(["-n", &namespace.name, "get", "mst", "-w", "--output-watch-events"])
        .stdout(output);
    let mut child = command.spawn().unwrap();
    shared().plane.adopt(&child).unwrap();
    let wait_for_event = |text: &'static str| {
        let file = file.clone();
        async move {
            eventually(&format!("the watch prints {text}"), || async {
                let events = std::fs::read_to_string(&file).unwrap();
                events
                    .lines()
                    .any(|line| text.split(' ').all(|word| line.contains(word)))
                    .then_some(())
            })
            .await;
        }
    };
    wait_for_event("ADDED first").await;
    create_session(&dev, "second", json!({ "target": "pod/y" })).await;
    wait_for_event("ADDED second").await;
    let label = ["label", "session", "second", "-n", &namespace.name, "a=b"];
    shared().admin(&label, "").await.unwrap();
    wait_for_event("MODIFIED second").await;
    dev.kubectl(&["delete", "session", "first"], "").await;
    wait_for_event("MODIFIED first").await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Checks pagination, bookmarks and error codes with raw requests, because kubectl hides them.
#[tokio::test]
async fn lists_and_watches_follow_api_conventions() {
    let (namespace, dev) = create_developer(shared(), "protocol").await;
    namespace.grant_session_reads(&dev.name).await;
    for name in ["a", "b", "c"] {
        create_session(&dev, name, session_spec()).await;
    }
    wait_for_output(&dev, &["get", "mst"], "\nc ").await;
    let base = trackers_path(&namespace.name);
    let raw = async |query: &str| {
        let path = format!("{base}{query}");
        dev.kubectl(&["get", "--raw", &path], "").await
    };
    let list: Value = serde_json::from_str(&raw("?limit=2").await.stdout).unwrap();
    assert_eq!(list["kind"], "SessionTrackerList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["metadata"]["remainingItemCount"], 1);
    let token = list["metadata"]["continue"].as_str().unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let rest: Value =
        serde_json::from_str(&raw(&format!("?limit=2&continue={token}")).await.stdout).unwrap();
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    assert_eq!(rest["metadata"]["resourceVersion"], version);

    // The resource version is also valid for the Sessions of the API server.
    let sessions = format!(
        "/apis/operator.metalbear.co/v1/namespaces/{}/sessions?watch=1&timeoutSeconds=1&resourceVersion={version}",
        namespace.name
    );
    let output = dev.kubectl(&["get", "--raw", &sessions], "").await;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");

    let initial = raw("?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true").await;
    let kinds: Vec<&str> =
        initial.stdout.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "ADDED", "BOOKMARK"], "{}", initial.stdout);
    assert!(initial.stdout.contains("k8s.io/initial-events-end"));
    let expired = raw("?watch=1&resourceVersion=1").await.stdout;
    assert!(expired.contains(r#""code":410"#) && expired.contains("Expired"), "{expired}");
    let future = raw("?resourceVersion=99999999999").await;
    assert!(future.stderr.contains("Too large resource version"), "{future:?}");
    let foreign = shared()
        .admin(
            &[
                "get",
                "--raw",
                &format!(
                    "/apis/visibility.operator.metalbear.co/v1/sessiontrackers?continue={token}"
                ),
            ],
            "",
        )
        .await
        .unwrap_err();
    assert!(foreign.to_string().contains("continue key is not valid"), "{foreign}");
    tokio::time::timeout(Duration::from_secs(5), raw("?watch=1&timeoutSeconds=1")).await.unwrap();
}
