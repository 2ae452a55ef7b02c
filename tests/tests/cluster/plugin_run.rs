//! `kubectl mirrord-sessions run` on a real cluster.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mirrord_sessions_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::{
    agents::fixtures::{event_notes, wait_for_event},
    plugin::bin,
    support::{Namespace, User, create_developer, eventually, eventually_within, name_of, shared},
};

/// Running `kubectl mirrord-sessions run` process and its working folder.
struct Run {
    child: Child,
    folder: PathBuf,
}

impl Run {
    /// Runs a shell script in a session, with standard error redirected to a file.
    fn start(user: &User<'_>, flags: &[&str], script: &str) -> Self {
        let plane = &user.cluster.plane;
        let folder = tempfile::tempdir_in(plane.folder()).unwrap().keep();
        let bin = bin(user.cluster);
        let child = Command::new(bin.join("kubectl"))
            .args(["mirrord-sessions", "run", "-n", user.namespace()])
            .args(flags)
            .args(["--", "sh", "-c", script])
            .current_dir(&folder)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("KUBECONFIG", user.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        plane.adopt(&child).unwrap();
        Self { child, folder }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap()
    }

    /// Waits for the process and returns its exit code, standard output and standard error.
    async fn wait(self) -> (Option<i32>, String, String) {
        let Self { child, folder } = self;
        let output = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output = output.await.unwrap().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            std::fs::read_to_string(folder.join("stderr")).unwrap(),
        )
    }

    fn release_command(&self) {
        std::fs::write(self.folder.join("end"), "").unwrap();
    }
}

/// Script that runs until the test releases the command.
const WAIT_FOR_RELEASE: &str = "until [ -e end ]; do sleep 0.1; done; exit 6";

/// Waits for a session whose wrapper has sent a report.
async fn wait_for_running_session(namespace: &Namespace<'_>) -> Value {
    // A first report that precedes the tracker is repeated with the second.
    eventually_within(Duration::from_mins(2), "a session is running", || async {
        let mut sessions = namespace.sessions().await;
        sessions.retain(|session| session["status"]["state"] == "running");
        sessions.pop()
    })
    .await
}

/// Waits for the tracker to show why and by whom a session was ended.
async fn end_reason(user: &User<'_>, session: &Value) -> (String, Option<String>) {
    let args = ["get", "mst", name_of(session), "-o", "json"];
    eventually("the tracker shows the reason of the end", || async {
        let output = user.kubectl(&args, "").await.stdout;
        let tracker: Value = serde_json::from_str(&output).ok()?;
        let status = &tracker["status"];
        let reason = status["reason"].as_str().filter(|reason| *reason != "deleted")?;
        let by = status["stoppedBy"].as_str().map(ToOwned::to_owned);
        Some((reason.to_owned(), by))
    })
    .await
}

/// Waits for a message on standard error for as long as reports may take to fail.
async fn wait_for_message(condition: &str, run: &Run, matches: impl Fn(&str) -> bool) {
    eventually_within(Duration::from_mins(3), condition, || async {
        matches(&run.stderr()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn session_lasts_as_long_as_command() {
    let (namespace, dev) = create_developer(shared(), "run").await;
    let script = format!("cat; {WAIT_FOR_RELEASE}");
    let mut run = Run::start(&dev, &["-t", "deployment/web", "--key", "avi"], &script);
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"through the pipe\n").unwrap();
    drop(stdin);
    let session = wait_for_running_session(&namespace).await;
    let spec = &session["spec"];
    assert_eq!(spec["target"], "deployment/web");
    assert_eq!(spec["key"], "avi");
    assert_eq!(spec["owner"]["username"], dev.name);
    assert_eq!(session["status"]["processes"], json!(["sh"]));
    assert_eq!(name_of(&session).len(), 16);
    let table = eventually("the session is listed", || async {
        let output = dev.kubectl(&["get", "mst", "-o", "wide"], "").await;
        let is_listed = output.stdout.contains(&name_of(&session).to_uppercase());
        (is_listed && output.stdout.contains("running")).then_some(output.stdout)
    })
    .await;
    assert!(table.contains("deployment/web") && table.contains("process"), "{table}");
    run.release_command();
    let (code, out, messages) = run.wait().await;
    assert_eq!((code, out.as_str(), messages.as_str()), (Some(6), "through the pipe\n", ""));
    assert!(namespace.sessions().await.is_empty());
    assert_eq!(end_reason(&dev, &session).await, ("its command ended".to_owned(), None));
    let note = wait_for_event(&namespace, "SessionEnded").await;
    assert!(note.ends_with(": its command ended."), "{note}");
    // Sessions of very short commands end for the same reason.
    for _ in 0..3 {
        let (code, _, messages) = Run::start(&dev, &[], "exit 0").wait().await;
        assert_eq!((code, messages.as_str()), (Some(0), ""));
    }
    let all = dev.kubectl(&["get", "mst", "-o", "json"], "").await.stdout;
    let all: Value = serde_json::from_str(&all).unwrap();
    for tracker in all["items"].as_array().unwrap() {
        assert_eq!(tracker["status"]["reason"], "its command ended", "{tracker}");
    }
}

#[tokio::test]
async fn deleting_session_terminates_command() {
    let (namespace, dev) = create_developer(shared(), "run-killed").await;
    let other = namespace.user("run-killer@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &other.name).await;
    // The owner may also delete the session from another terminal.
    for deleter in [&other, &dev] {
        let run = Run::start(&dev, &[], "trap 'exit 9' TERM; sleep 1000 & wait");
        let session = wait_for_running_session(&namespace).await;
        let deleted = deleter.kubectl(&["delete", "session", name_of(&session)], "").await;
        assert!(deleted.status.success(), "{deleted:?}");
        let (code, _, messages) = run.wait().await;
        assert_eq!(code, Some(9), "{messages}");
        let id = name_of(&session).to_uppercase();
        assert_eq!(
            messages,
            format!("Session \"{id}\" was stopped by {}: ending the command\n", deleter.name)
        );
        assert!(namespace.sessions().await.is_empty());
        let stopped = ("stopped".to_owned(), Some(deleter.name.clone()));
        assert_eq!(end_reason(&dev, &session).await, stopped);
        let subject = format!("{id} of ");
        eventually("an Event names the user who deleted the session", || async {
            let notes = event_notes(&namespace, "SessionStopped").await;
            let mut notes = notes.into_iter().filter(|note| note.contains(&subject));
            notes.find(|note| note.ends_with(&format!("it was stopped by {}.", deleter.name)))
        })
        .await;
    }
}

/// Deletes the CRD of Sessions, as an uninstall does, and installs it again.
#[tokio::test]
async fn command_survives_uninstall() {
    let cluster = Cluster::start().await.unwrap();
    let (namespace, dev) = create_developer(&cluster, "run-uninstalled").await;
    let run = Run::start(&dev, &[], WAIT_FOR_RELEASE);
    let before = wait_for_running_session(&namespace).await;
    let delete = ["delete", "crd", mirrord_sessions_crds::SESSIONS, "--wait"];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_message(
        "the wrapper reports that the session is no longer recorded",
        &run,
        |stderr| stderr.contains("is no longer recorded"),
    )
    .await;
    let apply = ["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/../crds")];
    cluster.admin(&apply, "").await.unwrap();
    wait_for_message("the wrapper reports the new session", &run, |stderr| {
        stderr.contains("the command continues as session")
    })
    .await;
    let after = wait_for_running_session(&namespace).await;
    assert_ne!(name_of(&after), name_of(&before));
    run.release_command();
    let (code, _, messages) = run.wait().await;
    assert_eq!(code, Some(6), "{messages}");
    assert_eq!(messages.lines().count(), 2, "{messages}");
    assert!(namespace.sessions().await.is_empty());
}

#[tokio::test]
async fn forwards_signals_and_exit_codes() {
    let (namespace, dev) = create_developer(shared(), "run-signals").await;
    let run = Run::start(&dev, &[], "trap 'exit 8' TERM; while :; do sleep 0.1; done");
    wait_for_running_session(&namespace).await;
    let pid = run.child.id().to_string();
    let sent = Command::new("kill").arg(&pid).status().unwrap();
    assert!(sent.success());
    let (code, _, messages) = run.wait().await;
    assert_eq!((code, messages.as_str()), (Some(8), ""));
    assert!(namespace.sessions().await.is_empty());

    let (code, _, messages) = Run::start(&dev, &[], "kill -KILL $$").wait().await;
    assert_eq!((code, messages.as_str()), (Some(137), ""));
    let (code, _, messages) = Run::start(&dev, &["--nope"], "true").wait().await;
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("unknown flag: --nope"), "{messages}");
    // A user who may not create sessions cannot run a command.
    let unprivileged = namespace.user("run-nobody@example.com", &[]);
    let (code, out, messages) = Run::start(&unprivileged, &[], "echo ran").wait().await;
    assert_eq!((code, out.as_str()), (Some(125), ""), "{messages}");
    assert!(messages.contains("cannot create sessions"), "{messages}");
    assert!(namespace.sessions().await.is_empty());
}

#[tokio::test]
async fn command_survives_unreachable_cluster() {
    let cluster = Cluster::start().await.unwrap();
    let (namespace, dev) = create_developer(&cluster, "run-lost").await;
    let run = Run::start(&dev, &[], WAIT_FOR_RELEASE);
    let before = wait_for_running_session(&namespace).await;
    cluster.plane.stop_apiserver();
    wait_for_message("the wrapper reports the unreachable cluster", &run, |stderr| {
        stderr.contains("cannot be reached")
    })
    .await;
    cluster.plane.start_apiserver().unwrap();
    wait_for_message("the wrapper reports the reconnection", &run, |stderr| {
        stderr.contains("The cluster is back")
    })
    .await;
    let after = eventually("the wrapper sends another report", || async {
        let session = wait_for_running_session(&namespace).await;
        (session["status"]["lastSeen"] != before["status"]["lastSeen"]).then_some(session)
    })
    .await;
    assert!(after["status"]["lastSeen"].as_str() > before["status"]["lastSeen"].as_str());
    run.release_command();
    let (code, _, messages) = run.wait().await;
    assert_eq!(code, Some(6), "{messages}");
    assert!(namespace.sessions().await.is_empty());
}
