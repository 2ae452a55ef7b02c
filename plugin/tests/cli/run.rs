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
    fake::{Fake, ReceivedRequest, Response, Server, session, status},
    plugin::CommandOutput,
};

pub(crate) fn run(server: &Server, flags: &str, command: &[&str]) -> Command {
    let mut run = server.command(&format!("run {flags} --"));
    run.args(command).env("PATH", "/usr/bin:/bin");
    run
}

fn output(server: &Server, flags: &str, command: &[&str]) -> CommandOutput {
    CommandOutput::new(&run(server, flags, command).output().unwrap())
}

/// Waits for a condition. The time limit only ends a failing test.
pub(crate) fn wait_until<T>(condition: &str, probe: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "timed out: {condition}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn created_sessions(server: &Server) -> Vec<Value> {
    let requests = server.requests().into_iter();
    requests
        .filter(|request| request.line() == "POST /namespaces/default/sessions")
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect()
}

pub(crate) fn reports(server: &Server) -> Vec<Value> {
    let requests = server.requests().into_iter();
    requests
        .filter(|request| request.line().ends_with("/report"))
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect()
}

/// Returns a script that waits until the file exists.
pub(crate) fn wait_for_file(file: &Path, then: &str) -> String {
    format!("until [ -e {} ]; do sleep 0.05; done; {then}", file.display())
}

#[test]
fn passes_streams_and_exit_codes() {
    let server = Fake::new().start();
    let script = "read line; echo \"got $line\"; echo oops >&2; exit 7";
    let mut child = run(&server, "", &["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"this\n").unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(
        (output.code, output.out.as_str(), output.messages.as_str()),
        (Some(7), "got this\n", "oops\n")
    );
    for (script, code) in [("exit 0", 0), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let output = self::output(&server, "", &["sh", "-c", script]);
        assert_eq!((output.code, output.messages.as_str()), (Some(code), ""), "{script}");
    }
    assert_eq!(server.session_names(), [""; 0]);
    for session in created_sessions(&server) {
        let name = session["metadata"]["name"].as_str().unwrap();
        assert!(
            name.len() == 16 && name.bytes().all(|b| b"0123456789abcdef".contains(&b)),
            "{name}"
        );
        assert_eq!(session["spec"]["target"], "targetless");
        assert!(session["spec"]["client"]["hostname"].is_string(), "{session}");
        // The annotation makes the cluster expire the session without reports.
        let annotations = &session["metadata"]["annotations"];
        assert_eq!(*annotations, json!({ "operator.metalbear.co/reports": "true" }));
        // The end is reported once, so that no user appears to have stopped the session. An
        // interrupted report may arrive after it.
        let line = format!("POST /namespaces/default/sessiontrackers/{name}/report");
        let requests = server.requests().into_iter();
        let reports = requests.filter(|request| request.line() == line);
        let reports = reports.map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
        let ends = reports.filter(|report| report["spec"] == json!({ "ended": true }));
        assert_eq!(ends.count(), 1, "{name}");
    }
    let deletes = server.lines().into_iter();
    assert_eq!(deletes.filter(|line| line.starts_with("DELETE")).count(), 0);
}

#[test]
fn deletes_the_session_by_uid_without_reports() {
    // One server has no trackers, one ignores last reports, one forbids them.
    let ignores_end = |request: &ReceivedRequest| {
        request.path.ends_with("/report").then(|| Response {
            code: 201,
            headers: "",
            body: json!({ "spec": {}, "status": { "periodSeconds": 1 } }).to_string(),
        })
    };
    let forbids_reports = |request: &ReceivedRequest| {
        request.path.ends_with("/report").then(|| Response {
            code: 403,
            headers: "",
            body: status(403, "Forbidden", "no", &json!({})),
        })
    };
    for (name, fake, reports) in [
        ("without trackers", Fake::new().without_trackers(), false),
        ("last reports ignored", Fake::new().rule(ignores_end), true),
        ("reports forbidden", Fake::new().rule(forbids_reports), true),
    ] {
        let server = fake.start();
        let output = self::output(&server, "", &["true"]);
        assert_eq!(output.code, Some(0), "{name}: {output:?}");
        let session = created_sessions(&server).remove(0);
        let annotations = &session["metadata"]["annotations"];
        assert_eq!(annotations.is_object(), reports, "{name}: {session}");
        let id = session["metadata"]["name"].as_str().unwrap();
        let line = format!("DELETE /namespaces/default/sessions/{id}");
        let requests = server.requests();
        let deleted = requests.iter().find(|request| request.line() == line).unwrap();
        let options: Value = serde_json::from_str(&deleted.body).unwrap();
        assert_eq!(options["preconditions"]["uid"], format!("uid-{id}"), "{name}");
        assert_eq!(server.session_names(), [""; 0], "{name}");
    }
}

/// Starts a server that fails this number of creations, whether or not it stores the session.
fn server_with_lost_responses(times: usize, stores: bool) -> Server {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    Fake::new()
        .time_out(
            move |request| {
                let is_create = request.line() == "POST /namespaces/default/sessions";
                is_create && tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < times
            },
            stores,
        )
        .start()
}

#[test]
fn creates_one_session_if_the_response_is_lost() {
    for stores in [true, false] {
        let server = server_with_lost_responses(1, stores);
        let output = self::output(&server, "", &["sh", "-c", "exit 4"]);
        assert_eq!((output.code, output.messages.as_str()), (Some(4), ""), "{stores}");
        let created = created_sessions(&server);
        assert_eq!(created.len(), 2, "{stores}");
        assert_eq!(created[0], created[1], "{stores}: both requests are equal");
        assert_eq!(server.session_names(), [""; 0], "{stores}");
    }
    // Finally the plugin gives up, and leaves no session behind.
    let server = server_with_lost_responses(9, true);
    let output = self::output(&server, "", &["echo", "output"]);
    assert_eq!((output.code, output.out.as_str()), (Some(125), ""), "{output:?}");
    assert_eq!(created_sessions(&server).len(), 3);
    assert_eq!(server.session_names(), [""; 0]);
}

#[test]
fn takes_session_properties_from_flags() {
    let server = Fake::new().start();
    let flags = "--target deploy/counter/container/c --key avi";
    assert_eq!(output(&server, flags, &["true"]).code, Some(0));
    let session = created_sessions(&server).remove(0);
    assert_eq!(session["spec"]["target"], "deployment/counter/container/c");
    assert_eq!(session["spec"]["key"], "avi");
    for wrong in ["--target Deployment/x", "--grace-period soon", "--nope", "--key=\u{202e}"] {
        let output = output(&server, wrong, &["true"]);
        assert_eq!(output.code, Some(1), "{wrong}: {output:?}");
        assert!(output.messages.starts_with("error: "), "{wrong}: {output:?}");
    }
    let nothing = server.run("run");
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert_eq!(created_sessions(&server).len(), 1);
}

#[test]
fn leaves_no_session_of_a_missing_command() {
    let server = Fake::new().start();
    for (command, code, line) in [
        ("nope-nope", 127, "error: there is no command \"nope-nope\""),
        ("/etc/passwd", 126, "error: \"/etc/passwd\" cannot be run"),
    ] {
        let output = output(&server, "", &[command]);
        assert_eq!((output.code, output.out.as_str()), (Some(code), ""));
        assert!(output.messages.starts_with(line), "{output:?}");
        assert_eq!(output.messages.lines().count(), 1, "{output:?}");
        assert_eq!(server.session_names(), [""; 0]);
    }
}

#[test]
fn runs_nothing_without_a_session() {
    let line = "POST /namespaces/default/sessions";
    let server = Fake::new().forbid(line, "create", Some("default")).start();
    let output = self::output(&server, "", &["echo", "output"]);
    assert_eq!((output.code, output.out.as_str()), (Some(125), ""), "{output:?}");
    assert!(output.messages.contains("cannot create sessions.operator.metalbear.co"), "{output:?}");
    let operator = json!({ "resources": [{ "name": "sessions" }, { "name": "mirrordoperators" }] });
    let server = Fake::new()
        .rule(move |request| {
            let is_discovery = request.path == "/apis/operator.metalbear.co/v1";
            is_discovery.then(|| Response { code: 200, headers: "", body: operator.to_string() })
        })
        .without_trackers()
        .start();
    let output = self::output(&server, "", &["echo", "output"]);
    assert_eq!((output.code, output.out.as_str()), (Some(125), ""), "{output:?}");
    assert!(output.messages.contains("mirrord's own operator"), "{output:?}");
}

#[test]
fn prints_warnings_of_the_server() {
    let server = Fake::new()
        .rule(|request| {
            (request.line() == "POST /namespaces/default/sessions").then(|| Response {
                code: 201,
                headers: "warning: 299 - \"bob is on that target too\"\r\n",
                body: session("default", "x").to_string(),
            })
        })
        .start();
    let output = output(&server, "", &["true"]);
    assert_eq!(output.messages, "Warning: bob is on that target too\n");
    assert_eq!(output.code, Some(0));
}

/// Returns the command after it has printed that it is ready.
pub(crate) fn ready(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ready\n");
    child
}

/// Creates a program named mirrord that prints its arguments.
fn mirrord(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("mirrord");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const PRINT_CONFIG: &str = "echo \"$@\"; echo \"$MIRRORD_CONFIG_FILE\"; ls -l \"$MIRRORD_CONFIG_FILE\" | cut -c1-10; cat \"$MIRRORD_CONFIG_FILE\"";

#[test]
fn passes_a_configuration_with_the_session_name_to_mirrord() {
    let folder = tempfile::tempdir().unwrap();
    let mirrord = mirrord(folder.path(), PRINT_CONFIG);
    let config = folder.path().join("mirrord.json");
    let text = r#"{"target": {"path": {"deployment": "counter"}, "namespace": "default"}, "key": "avi", "agent": {"ttl": 7, "annotations": {"a": "{{ key }}"}}}"#;
    fs::write(&config, text).unwrap();
    let server = Fake::new().start();
    let (mirrord, config) = (mirrord.to_str().unwrap(), config.to_str().unwrap());
    let output =
        self::output(&server, "", &[mirrord, "exec", "-f", config, "--", "app", "-f", "x"]);
    assert_eq!((output.code, output.messages.as_str()), (Some(0), ""), "{output:?}");
    let mut lines = output.out.splitn(4, '\n');
    let (args, file) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(args, format!("exec --config-file {file} -- app -f x"));
    assert_eq!(lines.next(), Some("-rw-------"));
    assert!(!Path::new(file).exists(), "{file}");
    let derived: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let session = created_sessions(&server).remove(0);
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

    // Without a file, the environment applies; mirrord's own flags override it.
    let output = self::output(&server, "", &[mirrord, "exec", "-t", "pod/a", "app"]);
    let mut lines = output.out.splitn(4, '\n');
    assert_eq!(lines.next(), Some("exec -t pod/a app"));
    let derived: Value = serde_json::from_str(lines.nth(2).unwrap()).unwrap();
    let own = &derived["agent"]["annotations"];
    assert_eq!(own["operator.metalbear.co/target"], "pod/a");
    assert_eq!(own["operator.metalbear.co/key"], "{{ key }}");
}

#[test]
fn keeps_a_configuration_that_can_not_be_extended() {
    let folder = tempfile::tempdir().unwrap();
    let mirrord = mirrord(folder.path(), "echo \"$@\"; echo \"<$MIRRORD_CONFIG_FILE>\"");
    let config = folder.path().join("mirrord.json");
    fs::write(&config, "{% if x %}{}{% endif %}").unwrap();
    let server = Fake::new().start();
    let (mirrord, config) = (mirrord.to_str().unwrap(), config.to_str().unwrap());
    for file in [config, "/nowhere.json", "-", "a.txt"] {
        let output = output(&server, "", &[mirrord, "exec", "-f", file, "app"]);
        assert_eq!(output.out, format!("exec -f {file} app\n<>\n"));
        assert!(
            output.messages.starts_with(&format!("Warning: mirrord receives {file} unchanged (")),
            "{output:?}"
        );
        assert_eq!(output.messages.lines().count(), 1, "{output:?}");
    }
    let output = output(&server, "", &[mirrord, "exec", "-t", "label/app=x", "app"]);
    assert!(output.messages.contains("\"label/app=x\""), "{output:?}");
    let last = created_sessions(&server).pop().unwrap();
    assert_eq!(last["spec"]["target"], "targetless");
}

#[test]
fn reports_data_of_mirrords_monitor() {
    let server = Fake::new().start();
    let folder = tempfile::tempdir().unwrap();
    let (end, pid) = (folder.path().join("end"), folder.path().join("pid"));
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; {1}",
        pid.display(),
        wait_for_file(&end, "exit 0")
    );
    let mirrord = mirrord(folder.path(), &script);
    let home = tempfile::tempdir().unwrap();
    let sockets = home.path().join(".mirrord/sessions");
    fs::create_dir_all(&sockets).unwrap();
    // A leftover socket, and one that never responds.
    drop(UnixListener::bind(sockets.join("old.sock")).unwrap());
    let silent = UnixListener::bind(sockets.join("silent.sock")).unwrap();
    let mut command = run(&server, "", &[mirrord.to_str().unwrap(), "exec", "app"]);
    let child = command.env("HOME", home.path()).spawn().unwrap();
    let pid: u64 =
        wait_until("mirrord runs", || fs::read_to_string(&pid).ok()?.trim().parse().ok());
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
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.extend(byte);
            }
            assert!(head.starts_with(b"GET /info HTTP/1.1\r\n"));
            let response_head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                info.len()
            );
            // The wrapper may have ended.
            let _ = stream.write_all(format!("{response_head}{info}").as_bytes());
        }
    });
    let report = wait_until("ports are reported", || {
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
            "clientVersion": "3.250.0",
        })
    );
    fs::write(&end, "").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    drop(silent);
}

#[test]
fn retries_after_temporary_failures() {
    let folder = tempfile::tempdir().unwrap();
    let (end, broken) = (folder.path().join("end"), folder.path().join("broken"));
    fs::write(&broken, "").unwrap();
    let is_broken = broken.clone();
    let server = Fake::new()
        .rule(move |request| {
            (request.path.ends_with("/report") && is_broken.exists()).then(|| Response {
                code: 500,
                headers: "",
                body: status(500, "InternalError", "broken", &json!({})),
            })
        })
        .start();
    let script = format!("echo ready; {}", wait_for_file(&end, "exit 0"));
    let child = ready(run(&server, "", &["sh", "-c", &script]));
    wait_until("three failed reports", || (reports(&server).len() >= 3).then_some(()));
    let failed = reports(&server).len();
    fs::remove_file(&broken).unwrap();
    wait_until("two more reports", || (reports(&server).len() >= failed + 2).then_some(()));
    fs::write(&end, "").unwrap();
    let output = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines: Vec<&str> = output.messages.lines().collect();
    assert!(lines[0].contains("the cluster cannot be reached"), "{output:?}");
    assert_eq!(&lines[1..], ["The cluster is back."]);
}

#[test]
fn finds_or_misses_the_target_of_mirrord_in_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let mirrord = mirrord(folder.path(), "cat \"${MIRRORD_CONFIG_FILE:-/dev/null}\"");
    let mirrord = mirrord.to_str().unwrap();
    let warning = "Warning: this command starts mirrord, and the target cannot be read from it: the session is recorded as targetless, and the run may be listed twice; --target names the target\n";
    for (flags, arguments, target, message) in [
        ("", "exec -t pod/a -- x", "pod/a", ""),
        ("", "container -t pod/a -- docker run x", "pod/a", ""),
        ("", "exec -t $T -- x", "targetless", warning),
        ("", "up", "targetless", warning),
        ("--target pod/b", "exec -t $T -- x", "pod/b", ""),
    ] {
        let server = Fake::new().start();
        let script = format!("{mirrord} {arguments}");
        let output = output(&server, flags, &["sh", "-c", &script]);
        assert_eq!(output.messages, message, "{arguments}");
        let session = created_sessions(&server).remove(0);
        assert_eq!(session["spec"]["target"], target, "{arguments}");
        // The agent names the session, so that the run is listed once.
        let name = session["metadata"]["name"].as_str().unwrap();
        let is_known = arguments.starts_with("exec -t pod") || arguments.starts_with("container");
        assert_eq!(output.out.contains(name), is_known, "{arguments}: {output:?}");
    }
}
