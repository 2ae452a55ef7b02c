//! `run`: a command with a session of its own.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    fake::{Answer, Fake, Seen, Server, session, status},
    plugin::Ran,
};

pub(crate) fn run(server: &Server, flags: &str, command: &[&str]) -> Command {
    let mut run = server.command(&format!("run {flags} --"));
    run.args(command).env("PATH", "/usr/bin:/bin");
    run
}

fn ran(server: &Server, flags: &str, command: &[&str]) -> Ran {
    Ran::of(&run(server, flags, command).output().unwrap())
}

/// Waits for a condition; the time is only there to end a test that fails.
pub(crate) fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn created(server: &Server) -> Vec<Value> {
    let seen = server.asked().into_iter();
    seen.filter(|seen| seen.line() == "POST /namespaces/default/sessions")
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect()
}

pub(crate) fn reports(server: &Server) -> Vec<Value> {
    let seen = server.asked().into_iter();
    seen.filter(|seen| seen.line().ends_with("/report"))
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect()
}

/// A script that waits until the file is there.
pub(crate) fn waiting(file: &Path, then: &str) -> String {
    format!("until [ -e {} ]; do sleep 0.05; done; {then}", file.display())
}

#[test]
fn streams_and_exit_codes_are_the_commands_own() {
    let server = Fake::new().start();
    let script = "read line; echo \"got $line\"; echo oops >&2; exit 7";
    let mut child = run(&server, "", &["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"this\n").unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.messages.as_str()),
        (Some(7), "got this\n", "oops\n")
    );
    for (script, code) in [("exit 0", 0), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let ran = self::ran(&server, "", &["sh", "-c", script]);
        assert_eq!((ran.code, ran.messages.as_str()), (Some(code), ""), "{script}");
    }
    assert_eq!(server.left(), [""; 0]);
    for session in created(&server) {
        let name = session["metadata"]["name"].as_str().unwrap();
        assert!(
            name.len() == 16 && name.bytes().all(|b| b"0123456789abcdef".contains(&b)),
            "{name}"
        );
        assert_eq!(session["spec"]["target"], "targetless");
        assert!(session["spec"]["client"]["hostname"].is_string(), "{session}");
        // So the cluster closes it, should nothing be heard of it.
        let annotations = &session["metadata"]["annotations"];
        assert_eq!(*annotations, json!({ "operator.metalbear.co/reports": "true" }));
        // Its end is told once, so that nobody is shown to have stopped it. A report that the end
        // has cut short may arrive after it.
        let line = format!("POST /namespaces/default/sessiontrackers/{name}/report");
        let asked = server.asked().into_iter();
        let reports = asked.filter(|seen| seen.line() == line);
        let reports = reports.map(|seen| serde_json::from_str::<Value>(&seen.body).unwrap());
        let ends = reports.filter(|report| report["spec"] == json!({ "ended": true }));
        assert_eq!(ends.count(), 1, "{name}");
    }
    let deletes = server.lines().into_iter();
    assert_eq!(deletes.filter(|line| line.starts_with("DELETE")).count(), 0);
}

#[test]
fn where_no_reports_are_taken_the_session_is_deleted_by_its_uid() {
    // One serves no trackers, one doesn't know of last reports, one forbids them.
    let old = |seen: &Seen| {
        seen.path.ends_with("/report").then(|| Answer {
            code: 201,
            headers: "",
            body: json!({ "spec": {}, "status": { "periodSeconds": 1 } }).to_string(),
        })
    };
    let no = |seen: &Seen| {
        seen.path.ends_with("/report").then(|| Answer {
            code: 403,
            headers: "",
            body: status(403, "Forbidden", "no", &json!({})),
        })
    };
    for (name, fake, reports) in [
        ("without trackers", Fake::new().without_trackers(), false),
        ("old", Fake::new().rule(old), true),
        ("forbidden", Fake::new().rule(no), true),
    ] {
        let server = fake.start();
        let ran = self::ran(&server, "", &["true"]);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        let session = created(&server).remove(0);
        let annotations = &session["metadata"]["annotations"];
        assert_eq!(annotations.is_object(), reports, "{name}: {session}");
        let id = session["metadata"]["name"].as_str().unwrap();
        let line = format!("DELETE /namespaces/default/sessions/{id}");
        let asked = server.asked();
        let deleted = asked.iter().find(|seen| seen.line() == line).unwrap();
        let options: Value = serde_json::from_str(&deleted.body).unwrap();
        assert_eq!(options["preconditions"]["uid"], format!("uid-{id}"), "{name}");
        assert_eq!(server.left(), [""; 0], "{name}");
    }
}

/// Answers that the session could not be created, so often, when it was or was not.
fn losing(times: usize, stores: bool) -> Server {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let inner = Fake::new();
    inner
        .losing(
            move |seen| {
                let is_create = seen.line() == "POST /namespaces/default/sessions";
                is_create && tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < times
            },
            stores,
        )
        .start()
}

#[test]
fn a_creation_whose_answer_is_lost_makes_one_session() {
    for stores in [true, false] {
        let server = losing(1, stores);
        let ran = self::ran(&server, "", &["sh", "-c", "exit 4"]);
        assert_eq!((ran.code, ran.messages.as_str()), (Some(4), ""), "{stores}");
        let created = created(&server);
        assert_eq!(created.len(), 2, "{stores}");
        assert_eq!(created[0], created[1], "{stores}: the same again");
        assert_eq!(server.left(), [""; 0], "{stores}");
    }
    // In the end it gives up, and leaves nothing behind.
    let server = losing(9, true);
    let ran = self::ran(&server, "", &["echo", "ran"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{ran:?}");
    assert_eq!(created(&server).len(), 3);
    assert_eq!(server.left(), [""; 0]);
}

#[test]
fn flags_say_what_the_session_is() {
    let server = Fake::new().start();
    let flags = "--target deploy/counter/container/c --key avi";
    assert_eq!(ran(&server, flags, &["true"]).code, Some(0));
    let session = created(&server).remove(0);
    assert_eq!(session["spec"]["target"], "deployment/counter/container/c");
    assert_eq!(session["spec"]["key"], "avi");
    for wrong in ["--target Deployment/x", "--grace-period soon", "--nope", "--key=\u{202e}"] {
        let ran = ran(&server, wrong, &["true"]);
        assert_eq!(ran.code, Some(1), "{wrong}: {ran:?}");
        assert!(ran.messages.starts_with("error: "), "{wrong}: {ran:?}");
    }
    let nothing = server.run("run");
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert_eq!(created(&server).len(), 1);
}

#[test]
fn a_command_that_is_not_there_leaves_no_session() {
    let server = Fake::new().start();
    for (command, code, line) in [
        ("nope-nope", 127, "error: there is no command \"nope-nope\""),
        ("/etc/passwd", 126, "error: \"/etc/passwd\" cannot be run"),
    ] {
        let ran = ran(&server, "", &[command]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""));
        assert!(ran.messages.starts_with(line), "{ran:?}");
        assert_eq!(ran.messages.lines().count(), 1, "{ran:?}");
        assert_eq!(server.left(), [""; 0]);
    }
}

#[test]
fn without_a_session_nothing_is_run() {
    let line = "POST /namespaces/default/sessions";
    let server = Fake::new().forbid(line, "create", Some("default")).start();
    let ran = self::ran(&server, "", &["echo", "ran"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{ran:?}");
    assert!(ran.messages.contains("cannot create sessions.operator.metalbear.co"), "{ran:?}");
    let operator = json!({ "resources": [{ "name": "sessions" }, { "name": "mirrordoperators" }] });
    let server = Fake::new()
        .rule(move |seen| {
            let is_it = seen.path == "/apis/operator.metalbear.co/v1";
            is_it.then(|| Answer { code: 200, headers: "", body: operator.to_string() })
        })
        .without_trackers()
        .start();
    let ran = self::ran(&server, "", &["echo", "ran"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{ran:?}");
    assert!(ran.messages.contains("mirrord's own operator"), "{ran:?}");
}

#[test]
fn what_the_server_warns_of_is_shown() {
    let server = Fake::new()
        .rule(|seen| {
            (seen.line() == "POST /namespaces/default/sessions").then(|| Answer {
                code: 201,
                headers: "warning: 299 - \"bob is on that target too\"\r\n",
                body: session("default", "x").to_string(),
            })
        })
        .start();
    let ran = ran(&server, "", &["true"]);
    assert_eq!(ran.messages, "Warning: bob is on that target too\n");
    assert_eq!(ran.code, Some(0));
}

/// The command, when it has written that it is ready, as each of these does.
pub(crate) fn ready(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ready\n");
    child
}

/// A program of mirrord's name that shows what it was given.
fn mirrord(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("mirrord");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const SHOW: &str = "echo \"$@\"; echo \"$MIRRORD_CONFIG_FILE\"; ls -l \"$MIRRORD_CONFIG_FILE\" | cut -c1-10; cat \"$MIRRORD_CONFIG_FILE\"";

#[test]
fn mirrord_exec_gets_a_configuration_that_names_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let mirrord = mirrord(folder.path(), SHOW);
    let config = folder.path().join("mirrord.json");
    let text = r#"{"target": {"path": {"deployment": "counter"}, "namespace": "default"}, "key": "avi", "agent": {"ttl": 7, "annotations": {"a": "{{ key }}"}}}"#;
    fs::write(&config, text).unwrap();
    let server = Fake::new().start();
    let (mirrord, config) = (mirrord.to_str().unwrap(), config.to_str().unwrap());
    let ran = self::ran(&server, "", &[mirrord, "exec", "-f", config, "--", "app", "-f", "x"]);
    assert_eq!((ran.code, ran.messages.as_str()), (Some(0), ""), "{ran:?}");
    let mut lines = ran.out.splitn(4, '\n');
    let (args, file) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(args, format!("exec --config-file {file} -- app -f x"));
    assert_eq!(lines.next(), Some("-rw-------"));
    assert!(!Path::new(file).exists(), "{file}");
    let derived: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let session = created(&server).remove(0);
    assert_eq!(session["spec"]["target"], "deployment/counter");
    assert_eq!(session["spec"]["key"], "avi");
    let client = &session["spec"]["client"];
    let mut expected: Value = serde_json::from_str(text).unwrap();
    expected["agent"]["annotations"] = json!({
        "a": "{{ key }}",
        "operator.metalbear.co/username": client["username"],
        "operator.metalbear.co/hostname": client["hostname"],
        "operator.metalbear.co/key": "avi",
        "operator.metalbear.co/target": "deployment/counter",
        "operator.metalbear.co/session-name": session["metadata"]["name"],
    });
    assert_eq!(derived, expected);
    assert_eq!(fs::read_to_string(config).unwrap(), text);

    // Without a file, by the environment; mirrord's own flags go first.
    let ran = self::ran(&server, "", &[mirrord, "exec", "-t", "pod/a", "app"]);
    let mut lines = ran.out.splitn(4, '\n');
    assert_eq!(lines.next(), Some("exec -t pod/a app"));
    let derived: Value = serde_json::from_str(lines.nth(2).unwrap()).unwrap();
    let own = &derived["agent"]["annotations"];
    assert_eq!(own["operator.metalbear.co/target"], "pod/a");
    assert_eq!(own["operator.metalbear.co/key"], "{{ key }}");
}

#[test]
fn a_configuration_that_cannot_be_extended_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mirrord = mirrord(folder.path(), "echo \"$@\"; echo \"<$MIRRORD_CONFIG_FILE>\"");
    let config = folder.path().join("mirrord.json");
    fs::write(&config, "{% if x %}{}{% endif %}").unwrap();
    let server = Fake::new().start();
    let (mirrord, config) = (mirrord.to_str().unwrap(), config.to_str().unwrap());
    for file in [config, "/nowhere.json", "-", "a.txt"] {
        let ran = ran(&server, "", &[mirrord, "exec", "-f", file, "app"]);
        assert_eq!(ran.out, format!("exec -f {file} app\n<>\n"));
        assert!(
            ran.messages.starts_with(&format!("Warning: mirrord gets {file} as it is (")),
            "{ran:?}"
        );
        assert_eq!(ran.messages.lines().count(), 1, "{ran:?}");
    }
    let ran = ran(&server, "", &[mirrord, "exec", "-t", "label/app=x", "app"]);
    assert!(ran.messages.contains("\"label/app=x\""), "{ran:?}");
    let last = created(&server).pop().unwrap();
    assert_eq!(last["spec"]["target"], "targetless");
}

#[test]
fn mirrords_monitor_tells_of_ports_filters_and_processes() {
    let server = Fake::new().start();
    let folder = tempfile::tempdir().unwrap();
    let (end, pid) = (folder.path().join("end"), folder.path().join("pid"));
    let script =
        format!("echo $$ > {0}.new; mv {0}.new {0}; {1}", pid.display(), waiting(&end, "exit 0"));
    let mirrord = mirrord(folder.path(), &script);
    let home = tempfile::tempdir().unwrap();
    let sockets = home.path().join(".mirrord/sessions");
    fs::create_dir_all(&sockets).unwrap();
    // One that was left over, and one that never answers.
    drop(UnixListener::bind(sockets.join("old.sock")).unwrap());
    let silent = UnixListener::bind(sockets.join("silent.sock")).unwrap();
    let mut command = run(&server, "", &[mirrord.to_str().unwrap(), "exec", "app"]);
    let child = command.env("HOME", home.path()).spawn().unwrap();
    let pid: u64 = until("mirrord runs", || fs::read_to_string(&pid).ok()?.trim().parse().ok());
    let info = json!({
        "session_id": "889e5c57-52ce-4b41-9943-6de463399af2", "key": "b2dc8",
        "target": "deployment/ip-visit-counter", "namespace": "shop",
        "mirrord_version": "3.250.0", "is_operator": false,
        "processes": [{ "pid": pid, "parent_pid": 1, "process_name": "fakelayer", "cmdline": ["x"] }],
        "port_subscriptions": [{ "port": 80, "mode": "steal" }, { "port": 9090, "mode": "mirror" }],
        "config": { "feature": { "network": { "incoming": {
            "http_filter": { "header_filter": "baggage: .*mirrord-session=avi", "ports": [80] },
        }}}},
    })
    .to_string();
    let monitor = UnixListener::bind(sockets.join("889e5c57.sock")).unwrap();
    thread::spawn(move || {
        for stream in monitor.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                asked.extend(byte);
            }
            assert!(asked.starts_with(b"GET /info HTTP/1.1\r\n"));
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                info.len()
            );
            // The wrapper may have ended.
            let _ = stream.write_all(format!("{head}{info}").as_bytes());
        }
    });
    let report = until("its ports are reported", || {
        let all = reports(&server);
        all.into_iter().find(|report| report["spec"]["ports"].is_array())
    });
    assert_eq!(
        report["spec"],
        json!({
            "ports": [
                { "port": 80, "type": "steal", "filter": "header=baggage: .*mirrord-session=avi" },
                { "port": 9090, "type": "mirror" },
            ],
            "processes": ["fakelayer"],
        })
    );
    fs::write(&end, "").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    drop(silent);
}

#[test]
fn a_server_that_fails_for_a_while_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (end, broken) = (folder.path().join("end"), folder.path().join("broken"));
    fs::write(&broken, "").unwrap();
    let is_broken = broken.clone();
    let server = Fake::new()
        .rule(move |seen| {
            (seen.path.ends_with("/report") && is_broken.exists()).then(|| Answer {
                code: 500,
                headers: "",
                body: status(500, "InternalError", "broken", &json!({})),
            })
        })
        .start();
    let script = format!("echo ready; {}", waiting(&end, "exit 0"));
    let child = ready(run(&server, "", &["sh", "-c", &script]));
    until("three failures", || (reports(&server).len() >= 3).then_some(()));
    let failed = reports(&server).len();
    fs::remove_file(&broken).unwrap();
    until("two more", || (reports(&server).len() >= failed + 2).then_some(()));
    fs::write(&end, "").unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.messages.lines().collect();
    assert!(lines[0].contains("the cluster cannot be reached"), "{ran:?}");
    assert_eq!(&lines[1..], ["The cluster is back."]);
}
