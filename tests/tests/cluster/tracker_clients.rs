//! Clients that cache trackers: kube-runtime's reflector and client-go's informer.

use mirrord_sessions_crds::{SessionState, SessionTracker};
use serde_json::json;

use crate::support::{
    create_developer, create_session, eventually, session_spec, shared, wait_for_output,
};

/// Checks kube-runtime's reflector with a paginated list and with a streaming list.
#[tokio::test]
async fn kube_reflector_follows_trackers() {
    use futures::StreamExt;
    use kube::runtime::{WatchStreamExt, reflector, watcher};
    let (namespace, dev) = create_developer(shared(), "reflected").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let client = shared().plane.client(&dev.name, &["devs"]).await.unwrap();
    for config in
        [watcher::Config::default().page_size(1), watcher::Config::default().streaming_lists()]
    {
        let api: kube::Api<SessionTracker> = kube::Api::namespaced(client.clone(), &namespace.name);
        let (reader, writer) = reflector::store();
        let running = tokio::spawn(
            reflector(writer, watcher(api, config)).default_backoff().for_each(|_| async {}),
        );
        let is_live = |tracker: &SessionTracker| {
            let status = tracker.status.as_ref();
            status.is_none_or(|status| status.state != SessionState::Terminated)
        };
        let names = || {
            let mut names: Vec<String> = reader
                .state()
                .iter()
                .filter(|tracker| is_live(tracker))
                .filter_map(|tracker| tracker.metadata.name.clone())
                .collect();
            names.sort();
            names
        };
        let wait_for_names = async |expected: &[&str]| {
            eventually(&format!("the reflector caches {expected:?}"), || async {
                (names() == expected).then_some(())
            })
            .await;
        };
        wait_for_names(&["one"]).await;
        create_session(&dev, "two", json!({ "target": "pod/y" })).await;
        wait_for_names(&["one", "two"]).await;
        dev.kubectl(&["delete", "session", "two"], "").await;
        wait_for_names(&["one"]).await;
        running.abort();
    }
}

/// Checks client-go's informer with a Go program.
///
/// The test is skipped without Go, which is otherwise needed only to build the control plane.
#[tokio::test]
async fn client_go_informer_follows_trackers() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("informer");
    let built = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/informer"))
        .output();
    let Ok(built) = built else {
        eprintln!("skipped: Go is not installed");
        return;
    };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (namespace, dev) = create_developer(shared(), "informed").await;
    create_session(&dev, "one", session_spec()).await;
    let seen = folder.path().join("seen");
    let mut child = Command::new(&program)
        .arg(&namespace.name)
        .env("KUBECONFIG", dev.kubeconfig())
        .stdout(std::fs::File::create(&seen).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    shared().plane.adopt(&child).unwrap();
    let wait_for_line = async |line: &str| {
        eventually(&format!("the informer prints {line:?}"), || async {
            let seen = std::fs::read_to_string(&seen).unwrap();
            seen.lines().any(|printed| printed == line).then_some(())
        })
        .await;
    };
    wait_for_line("synced").await;
    wait_for_line("added one").await;
    create_session(&dev, "two", json!({ "target": "pod/y" })).await;
    wait_for_line("added two").await;
    let label = ["label", "session", "two", "-n", &namespace.name, "a=b"];
    shared().admin(&label, "").await.unwrap();
    wait_for_line("updated two").await;
    dev.kubectl(&["delete", "session", "one"], "").await;
    wait_for_line("updated one").await;
    child.kill().unwrap();
    child.wait().unwrap();
}
