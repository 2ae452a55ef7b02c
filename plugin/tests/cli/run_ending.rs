//! The end of `run`: by a stop, by itself, by a signal, and conditions that must not end it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use crate::{
    fake::{Fake, ReceivedRequest, Response, Server, status},
    plugin::CommandOutput,
    run::{created_sessions, ready, reports, run, wait_for_file, wait_until},
};

fn stopped_by_bob(server: &Server) {
    server.change(|sessions| {
        for session in sessions {
            session["status"] =
                json!({ "state": "terminated", "reason": "stopped", "stoppedBy": "bob@x" });
        }
    });
}

#[test]
fn a_stopped_session_ends_the_command() {
    let server = Fake::new().start();
    // No foreground job, whose end the shell would report.
    let script = "trap 'echo ending; exit 3' TERM; echo ready; sleep 1000 & wait";
    let child = ready(run(&server, "", &["sh", "-c", script]));
    wait_until("the first report", || reports(&server).pop());
    let name = server.session_names().remove(0).to_uppercase();
    stopped_by_bob(&server);
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(3), "ending\n"), "{output:?}");
    assert_eq!(
        output.messages,
        format!("Session \"{name}\" was stopped by bob@x: ending the command\n")
    );

    // A command that ignores SIGTERM.
    let server = Fake::new().start();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let child = ready(run(&server, "--grace-period 200ms", &["sh", "-c", script]));
    wait_until("the first report", || reports(&server).pop());
    stopped_by_bob(&server);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(137));
}

/// Returns whether a process is running.
#[cfg(target_os = "linux")]
fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat"));
    // In a container, no process may reap orphans.
    status.is_ok_and(|status| !status.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[cfg(target_os = "linux")]
#[test]
fn ends_descendants_of_a_stopped_command() {
    // A child that ends on SIGTERM, an orphan, a child that ignores SIGTERM, and a daemon. The
    // shell may report that its child was killed.
    let script = "trap 'exit 3' TERM
        sleep 1000 & echo $! > child
        (sleep 1000 & echo $! > orphan)
        sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' 2>/dev/null & echo $! > stubborn
        setsid sleep 1000 >/dev/null 2>&1 & echo $! > daemon
        echo $KUBECTL_MIRRORD_SESSION > name
        echo ready; wait";
    let folder = tempfile::tempdir().unwrap();
    let server = Fake::new().start();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut command = run(&server, "--grace-period 1s", &["sh", "-c", script]);
    let child = ready({
        command.current_dir(folder.path());
        command
    });
    wait_until("the first report", || reports(&server).pop());
    let read = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.trim().to_owned()
    };
    assert_eq!(server.session_names(), [read("name")]);
    let all = ["child", "orphan", "stubborn", "daemon"].map(read);
    assert!(all.iter().all(|pid| runs(pid)), "{all:?}");
    stopped_by_bob(&server);
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(3), "the exit code of the command: {output:?}");
    assert_eq!(output.messages.lines().count(), 1, "{output:?}");
    assert_eq!(all.clone().map(|pid| runs(&pid)), [false, false, false, true]);
    assert!(runs(&bystander.id().to_string()), "a process of the same group is not a descendant");
    Command::new("kill").arg(&all[3]).status().unwrap();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn survives_an_uninstallation() {
    let folder = tempfile::tempdir().unwrap();
    let (end, removed) = (folder.path().join("end"), folder.path().join("removed"));
    let is_removed = removed.clone();
    let server = Fake::new()
        .rule(move |request| {
            let is_sessions = request.path.starts_with("/apis/operator.metalbear.co");
            (is_sessions && is_removed.exists()).then(|| Response {
                code: 404,
                headers: "",
                body: "404 page not found\n".into(),
            })
        })
        .start();
    let script = format!("echo ready; {}", wait_for_file(&end, "exit 5"));
    let child = ready(run(&server, "", &["sh", "-c", &script]));
    wait_until("the first report", || reports(&server).pop());
    let first = server.session_names().remove(0).to_uppercase();
    fs::write(&removed, "").unwrap();
    server.change(Vec::clear);
    let creations =
        || server.lines().into_iter().filter(|line| line == "POST /namespaces/default/sessions");
    wait_until("repeated creations", || (creations().count() >= 4).then_some(()));
    fs::remove_file(&removed).unwrap();
    let second = wait_until("another session", || server.session_names().pop());
    wait_until("a report of the new session", || {
        let mut lines = server.lines().into_iter();
        lines.find(|line| line.ends_with(&format!("{second}/report")))
    });
    fs::write(&end, "").unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(5), "{output:?}");
    let lines: Vec<&str> = output.messages.lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    assert!(lines[0].contains(&format!("\"{first}\" is no longer recorded")), "{output:?}");
    assert!(
        lines[1].contains(&format!("continues as session \"{}\"", second.to_uppercase())),
        "{output:?}"
    );
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn a_deleted_session_ends_the_command_and_an_expired_one_does_not() {
    let server = Fake::new().start();
    let script = "echo ready; while :; do sleep 0.05; done";
    let child = ready(run(&server, "", &["sh", "-c", script]));
    wait_until("the first report", || reports(&server).pop());
    server.change(Vec::clear);
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(143), "{output:?}");
    assert!(output.messages.contains("deleted by an unknown user"), "{output:?}");

    let folder = tempfile::tempdir().unwrap();
    let end = folder.path().join("end");
    let server = Fake::new().start();
    let script = format!("echo ready; {}", wait_for_file(&end, "exit 5"));
    let child = ready(run(&server, "", &["sh", "-c", &script]));
    wait_until("the first report", || reports(&server).pop());
    let first = server.session_names().remove(0);
    server.change(|sessions| {
        for session in sessions {
            session["status"] = json!({ "state": "terminated", "reason": "expired" });
        }
    });
    let second = wait_until("another session", || {
        server.session_names().into_iter().find(|name| *name != first)
    });
    wait_until("a report of the new session", || {
        let lines = server.lines().into_iter();
        let mut reports = lines.filter(|line| line.ends_with(&format!("{second}/report")));
        reports.next()
    });
    fs::write(&end, "").unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(5), "{output:?}");
    let line = format!("continues as session \"{}\"", second.to_uppercase());
    assert!(output.messages.contains(&line), "{output:?}");
    assert_eq!(server.session_names(), [first]);
}

#[test]
fn forwards_sigterm_and_deletes_the_session() {
    let server = Fake::new().start();
    let script = "trap 'echo got it; exit 4' TERM; echo ready; while :; do sleep 0.05; done";
    let child = ready(run(&server, "", &["sh", "-c", script]));
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(4), "got it\n"), "{output:?}");
    assert_eq!(output.messages, "");
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn warns_of_rejected_reports_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let end = folder.path().join("end");
    let server = Fake::new().without_trackers().start();
    let script = format!("echo ready; {}", wait_for_file(&end, "exit 0"));
    let mut child = ready(run(&server, "", &["sh", "-c", &script]));
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut message = String::new();
    messages.read_line(&mut message).unwrap();
    assert!(message.contains("accepts no reports"), "{message}");
    assert!(!reports(&server).is_empty());
    let list = "GET /namespaces/default/sessions".to_owned();
    assert!(server.lines().contains(&list), "the session is looked up");
    fs::write(&end, "").unwrap();
    messages.read_to_string(&mut message).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Returns RBAC's response to a requester who may not read Sessions.
fn deny_session_reads(request: &ReceivedRequest) -> Option<Response> {
    let prefix = "GET /apis/operator.metalbear.co/v1/namespaces/default/sessions/";
    let message = "sessions.operator.metalbear.co is forbidden: User \"avi@x\" cannot get resource \"sessions\" in API group \"operator.metalbear.co\" in the namespace \"default\"";
    format!("{} {}", request.method, request.path).starts_with(prefix).then(|| Response {
        code: 403,
        headers: "",
        body: status(403, "Forbidden", message, &json!({})),
    })
}

fn not_found() -> Response {
    let details = json!({ "name": "x", "kind": "sessiontrackers" });
    Response { code: 404, headers: "", body: status(404, "NotFound", "not found", &details) }
}

#[test]
fn survives_a_lagging_replica_without_read_access() {
    let folder = tempfile::tempdir().unwrap();
    let end = folder.path().join("end");
    let report_count = AtomicUsize::new(0);
    let server = Fake::new()
        .rule(deny_session_reads)
        .rule(move |request| {
            let is_report = request.path.ends_with("/report");
            (is_report && report_count.fetch_add(1, Ordering::SeqCst) < 3).then(not_found)
        })
        .start();
    let script = format!("echo ready; {}", wait_for_file(&end, "exit 5"));
    let child = ready(run(&server, "", &["sh", "-c", &script]));
    wait_until("reports continue", || (reports(&server).len() >= 5).then_some(()));
    let lines = server.lines();
    let lookup = format!("GET /namespaces/default/sessions/{}", server.session_names()[0]);
    assert!(lines.contains(&lookup), "{lines:?}");
    fs::write(&end, "").unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!((output.code, output.messages.as_str()), (Some(5), ""), "{output:?}");
    assert_eq!(created_sessions(&server).len(), 1);
}

#[test]
fn survives_a_policy_that_hides_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join("hidden");
    let is_hidden = hidden.clone();
    let server = Fake::new()
        .rule(deny_session_reads)
        .rule(move |request| {
            let trackers =
                "/apis/visibility.operator.metalbear.co/v1/namespaces/default/sessiontrackers";
            if request.method != "GET" || !is_hidden.exists() {
                return None;
            }
            let rest = request.path.strip_prefix(trackers)?;
            let none = json!({ "kind": "SessionTrackerList", "metadata": {}, "items": [] });
            Some(if rest.is_empty() {
                Response { code: 200, headers: "", body: none.to_string() }
            } else {
                not_found()
            })
        })
        .start();
    let script = "echo ready; while :; do sleep 0.05; done";
    let child = ready(run(&server, "", &["sh", "-c", script]));
    wait_until("the first report", || reports(&server).pop());
    fs::write(&hidden, "").unwrap();
    let lines = |what: &str| {
        let lines = server.lines().into_iter();
        lines.filter(|line| line.contains(what)).count()
    };
    let list = "GET /namespaces/default/sessiontrackers";
    let lists = lines(list);
    wait_until("several lists without the session", || (lines(list) >= lists + 8).then_some(()));
    let count = lines("/report");
    wait_until("reports continue", || (lines("/report") >= count + 3).then_some(()));
    // The command ends when the session is deleted.
    server.change(Vec::clear);
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(143), "{output:?}");
    assert_eq!(output.messages.lines().count(), 1, "{output:?}");
    assert!(output.messages.contains("deleted by an unknown user"), "{output:?}");
    assert_eq!(created_sessions(&server).len(), 1);
}
